#include "fettle/train/stop_signal.h"

#include <unistd.h>

#include <atomic>

namespace fettle {
namespace {

std::atomic<int> g_requests{0};
std::atomic<bool> g_save{false};

void handle(int signal) {
  if (signal == SIGUSR1)
    g_save = true;
  else if (g_requests.fetch_add(1) > 0 && signal == SIGINT)
    _exit(130);
}

}  // namespace

void StopSignal::install(int signal, void (*handler)(int)) {
  struct sigaction action = {}, old = {};
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, &old);
  old_.emplace_back(signal, old);
}

StopSignal::StopSignal() {
  g_requests = 0;
  g_save = false;
  install(SIGUSR1, handle);
}

void StopSignal::hold() {
  install(SIGINT, handle);
  install(SIGTERM, handle);
  struct sigaction hangup = {};
  sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) install(SIGHUP, handle);
}

StopSignal::~StopSignal() {
  for (auto& [signal, old] : old_) sigaction(signal, &old, nullptr);
}
bool StopSignal::requested() {
  return g_requests.load() > 0;
}

bool StopSignal::take_save_request() {
  return g_save.exchange(false);
}

}  // namespace fettle
