#include "fettle/train/stop_signal.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace fettle {
namespace {

std::atomic<int> g_requests{0};
std::atomic<bool> g_save{false};
struct sigaction g_old_interrupt, g_old_terminate, g_old_user;

void handle(int signal) {
  if (signal == SIGUSR1)
    g_save = true;
  else if (g_requests.fetch_add(1) > 0 && signal == SIGINT)
    _exit(130);
}

}  // namespace

StopSignal::StopSignal() {
  g_requests = 0;
  g_save = false;
  struct sigaction action = {};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &g_old_interrupt);
  sigaction(SIGTERM, &action, &g_old_terminate);
  sigaction(SIGUSR1, &action, &g_old_user);
}
StopSignal::~StopSignal() {
  sigaction(SIGINT, &g_old_interrupt, nullptr);
  sigaction(SIGTERM, &g_old_terminate, nullptr);
  sigaction(SIGUSR1, &g_old_user, nullptr);
}
bool StopSignal::requested() {
  return g_requests.load() > 0;
}

bool StopSignal::take_save_request() {
  return g_save.exchange(false);
}

}  // namespace fettle
