"""Questions with a chain of thought and an answer: arithmetic, order and time, everyday sense, medical safety.

Written for this project. Each function yields (question, reasoning, response). Medical lines only say when to ask a
doctor or a pharmacist; they give no treatment.
"""


def plural(n, word):
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def arithmetic_en(rng):
    things = ["apple", "egg", "book", "cup", "pencil", "candle"]
    names = ["Anna", "Ben", "Lily", "Tom", "Maria", "Sam"]
    for k in range(11):
        i = k % 6
        a, b, c = rng.randint(5, 12), rng.randint(2, 4), rng.randint(2, 9)
        thing, name = things[i], names[i]
        yield (
            f"{name} has {plural(a, thing)}. {name} gives {b} away and then buys {c}. How many are there now?",
            f"Start with {a}. Giving {b} away leaves {a} - {b} = {a - b}. Buying {c} makes {a - b} + {c} = {a - b + c}.",
            f"{name} has {plural(a - b + c, thing)} now.",
        )
    for k in range(11):
        i = k % 6
        rows, each = rng.randint(2, 6), rng.randint(3, 8)
        yield (
            f"There are {rows} boxes with {each} {things[i]}s in each box. How many {things[i]}s are there?",
            f"Every box holds the same number, so multiply. {rows} times {each} is {rows * each}.",
            f"There are {rows * each} {things[i]}s.",
        )
    for k in range(11):
        i = k % 6
        people, each = rng.randint(2, 5), rng.randint(2, 6)
        yield (
            f"{people} friends share {people * each} {things[i]}s equally. How many does each one get?",
            f"Sharing equally means dividing. {people * each} divided by {people} is {each}. Check: {people} times {each} is "
            f"{people * each}.",
            f"Each friend gets {each}.",
        )
    for i in range(5):
        price, count = rng.randint(2, 6), rng.randint(2, 4)
        paid = ((price * count) // 10 + 1) * 10
        yield (
            f"One {things[i]} costs {price} dollars. I buy {count} and pay with {paid} dollars. How much do I get back?",
            f"First the total: {count} times {price} is {price * count}. Then the change: {paid} - {price * count} = "
            f"{paid - price * count}.",
            f"You get {plural(paid - price * count, 'dollar')} back.",
        )
    for _ in range(5):
        hour, length = rng.randint(7, 10), rng.randint(2, 5)
        late = "" if hour + length < 12 else " Past noon we begin again at one." if hour + length > 12 else ""
        end = (hour + length - 1) % 12 + 1
        yield (
            f"A train leaves at {hour} in the morning and drives for {length} hours. When does it arrive?",
            f"Add the hours: {hour} + {length} = {hour + length}.{late} So the clock shows {end}.",
            f"It arrives at {end} o'clock.",
        )
    for i in range(6):
        x, y, z = names[i], names[(i + 2) % 6], names[(i + 3) % 6]
        yield (
            f"{x} is older than {y}. {y} is older than {z}. Who is the youngest?",
            f"{x} comes before {y}, and {y} comes before {z}. In order: {x}, {y}, {z}. The last one is the youngest.",
            f"{z} is the youngest.",
        )


def arithmetic_zh(rng):
    things = [("苹果", "个"), ("鸡蛋", "个"), ("书", "本"), ("杯子", "个"), ("铅笔", "支"), ("灯", "盏")]
    names = ["小明", "小红", "小华", "丽丽", "小军", "小雨"]
    for k in range(11):
        i = k % 6
        a, b, c = rng.randint(5, 12), rng.randint(2, 4), rng.randint(2, 9)
        (thing, unit), name = things[i], names[i]
        yield (
            f"{name}有{a}{unit}{thing}，送出{b}{unit}，又买了{c}{unit}，现在有多少？",
            f"先有{a}{unit}。送出{b}{unit}，还有{a} - {b} = {a - b}。再买{c}{unit}，一共{a - b} + {c} = {a - b + c}。",
            f"{name}现在有{a - b + c}{unit}{thing}。",
        )
    for k in range(11):
        i = k % 6
        rows, each = rng.randint(2, 6), rng.randint(3, 8)
        thing, unit = things[i]
        yield (
            f"有{rows}个盒子，每个盒子里有{each}{unit}{thing}，一共有多少？",
            f"每个盒子一样多，所以用乘法。{rows}乘{each}等于{rows * each}。",
            f"一共有{rows * each}{unit}{thing}。",
        )
    for k in range(11):
        i = k % 6
        people, each = rng.randint(2, 5), rng.randint(2, 6)
        thing, unit = things[i]
        yield (
            f"{people}个朋友平分{people * each}{unit}{thing}，每个人得到多少？",
            f"平分就是除法。{people * each}除以{people}等于{each}。检查一下：{people}乘{each}等于{people * each}。",
            f"每个人得到{each}{unit}。",
        )
    for i in range(5):
        price, count = rng.randint(2, 6), rng.randint(2, 4)
        paid = ((price * count) // 10 + 1) * 10
        thing, unit = things[i]
        yield (
            f"一{unit}{thing}{price}元，我买{count}{unit}，给了{paid}元，找回多少？",
            f"先算一共要多少：{count}乘{price}等于{price * count}。再算找回：{paid} - {price * count} = {paid - price * count}。",
            f"找回{paid - price * count}元。",
        )
    for _ in range(5):
        hour, length = rng.randint(7, 10), rng.randint(2, 5)
        end = (hour + length - 1) % 12 + 1
        late = "过了十二点，从一点重新数。" if hour + length > 12 else ""
        yield (
            f"火车早上{hour}点出发，走{length}个小时，几点到？",
            f"把时间加起来：{hour} + {length} = {hour + length}。{late}所以钟上是{end}点。",
            f"火车{end}点到。",
        )
    for i in range(6):
        x, y, z = names[i], names[(i + 2) % 6], names[(i + 3) % 6]
        yield (
            f"{x}比{y}大，{y}比{z}大，谁最小？",
            f"{x}在{y}前面，{y}在{z}前面。从大到小是{x}、{y}、{z}。最后一个最小。",
            f"{z}最小。",
        )


EVERYDAY_EN = [
    (
        "The sky is dark and the wind is strong. Should I take an umbrella?",
        "Dark clouds often bring rain. A strong wind can break an umbrella. So something against rain is useful, and a "
        "coat is safer in the wind.",
        "Yes, expect rain. A rain coat is better than an umbrella in strong wind.",
    ),
    (
        "My plant has yellow leaves and the soil is very wet. What should I do?",
        "Yellow leaves can come from too much or too little water. The soil is wet, so it is too much.",
        "Stop watering until the soil is dry.",
    ),
    (
        "The lamp does not work. What should I check first?",
        "Begin with the easiest. Is the plug in? Then try another bulb. Last, look at the switch.",
        "Check the plug first, then the bulb, then the switch.",
    ),
    (
        "I have a meeting at nine and the way takes forty minutes. When should I leave?",
        "Forty minutes before nine is twenty past eight. A bus can be late, so add ten minutes.",
        "Leave at ten past eight.",
    ),
    (
        "Milk smells sour but the date is still good. Can I drink it?",
        "The date is true for closed milk that was kept cold. A sour smell shows that it has gone bad.",
        "No, do not drink it.",
    ),
    (
        "All birds in this garden can sing. Kiki is a bird in this garden. Can Kiki sing?",
        "The rule is about every bird in the garden. Kiki is one of them. So the rule is true for Kiki.",
        "Yes, Kiki can sing.",
    ),
    (
        "If it rains, the street is wet. The street is wet. Did it rain?",
        "Rain makes the street wet, but other things do too, for example someone washing a car. So we can't be sure.",
        "Maybe, but it is not certain.",
    ),
    (
        "Which is heavier, one kilo of stones or one kilo of feathers?",
        "Both are one kilo. The feathers only take more room.",
        "They are equally heavy.",
    ),
    (
        "I have three clean shirts and wash on Sunday. Today is Wednesday. Do I have enough until Sunday?",
        "The days are Wednesday, Thursday, Friday and Saturday. That makes four days. Three shirts are fewer than four.",
        "No, you need one more shirt.",
    ),
    (
        "The soup is too salty. How can I save it?",
        "Salt can't be taken out, but it can be spread over more food. Water or potatoes make the soup bigger.",
        "Add some water or potatoes.",
    ),
]

EVERYDAY_ZH = [
    (
        "天很黑，风很大，我要带伞吗？",
        "黑云常常带来雨。风太大，伞容易坏。所以要防雨，可是雨衣更好。",
        "可能会下雨，风大的时候穿雨衣比打伞好。",
    ),
    (
        "我的花叶子发黄，土很湿，怎么办？",
        "叶子发黄，可能是水太多，也可能是水太少。土很湿，说明是水太多。",
        "先不要浇水，等土干了再浇。",
    ),
    (
        "灯不亮了，先检查什么？",
        "从最容易的开始。插头插好了吗？再换一个灯泡。最后看开关。",
        "先看插头，再看灯泡，最后看开关。",
    ),
    (
        "九点开会，路上要四十分钟，几点出门？",
        "九点往前四十分钟是八点二十分。车可能晚，再多留十分钟。",
        "八点十分出门。",
    ),
    (
        "牛奶有酸味，可是日期没过，能喝吗？",
        "日期说的是没打开、一直放在冷的地方的牛奶。有酸味说明已经坏了。",
        "不能喝。",
    ),
    (
        "花园里的鸟都会唱歌，豆豆是花园里的鸟，豆豆会唱歌吗？",
        "这句话说的是花园里每一只鸟。豆豆是其中一只。所以这句话对豆豆也成立。",
        "会，豆豆会唱歌。",
    ),
    (
        "下雨的话路会湿。现在路湿了，下过雨吗？",
        "雨会让路变湿，可是别的事也会，比如有人洗车。所以不能肯定。",
        "可能下过，但不能肯定。",
    ),
    (
        "一公斤石头和一公斤棉花，哪个重？",
        "两个都是一公斤。棉花只是更占地方。",
        "一样重。",
    ),
    (
        "我有三件干净的衣服，星期天洗，今天星期三，够穿到星期天吗？",
        "要穿的是星期三、星期四、星期五、星期六，一共四天。三件比四件少。",
        "不够，还差一件。",
    ),
    (
        "汤太咸了，怎么办？",
        "盐拿不出来，可是可以分到更多的东西里。加水或者加土豆，汤就变多了。",
        "加一点水，或者加几块土豆。",
    ),
]

MEDICAL_EN = [
    (
        "I have a strong pain in the chest and my left arm feels heavy. Should I wait until tomorrow?",
        "Chest pain together with a heavy arm can come from the heart. With the heart, minutes count. Waiting is dangerous.",
        "No. Call the emergency number now and do not drive yourself.",
    ),
    (
        "My baby is two months old and has a fever. Can I wait?",
        "A very young baby can become ill quickly, and fever may be the only sign. It must be seen the same day.",
        "No, go to a doctor now.",
    ),
    (
        "I took my medicine twice by mistake. What should I do?",
        "Some medicines are dangerous in a double dose and some are not. I do not know which one it is. A pharmacist or a "
        "poison line knows.",
        "Call a pharmacist or the poison line now, and have the package in your hand.",
    ),
    (
        "Can I take two different pain pills together?",
        "Two pills may contain the same substance under different names. Then the dose doubles. The package tells what is "
        "inside, and a pharmacist can check.",
        "Do not mix them before you ask a pharmacist.",
    ),
    (
        "I feel better after three days. Can I stop the antibiotic?",
        "Feeling better does not mean that all germs are gone. Stopping early should be decided by the doctor who chose "
        "the medicine.",
        "Ask your doctor before you stop.",
    ),
    (
        "My friend's face hangs down on one side and the speech is not clear. What is it?",
        "A hanging face and unclear speech are signs of a stroke. The brain needs help at once. Remember the time when it "
        "began.",
        "It may be a stroke. Call the emergency number now and tell them when it began.",
    ),
    (
        "I burned my finger on the stove. Should I put butter on it?",
        "Butter keeps the heat in the skin. Cool running water takes the heat out. A large or deep burn needs a doctor.",
        "No butter. Hold it under cool water, and see a doctor if it is large or deep.",
    ),
    (
        "I have had a headache for one day after little sleep. Is it dangerous?",
        "Little sleep often gives a headache. It is different if the pain is sudden and very strong, or comes with fever or "
        "a stiff neck.",
        "Rest and drink water. See a doctor if it gets strong, sudden, or comes with fever.",
    ),
    (
        "Can I drink alcohol with my sleeping pill?",
        "Both make the brain slow. Together they can make the breath slow too. That is dangerous.",
        "No, do not mix them.",
    ),
    (
        "My child swallowed a small battery but feels fine. What now?",
        "A battery can burn the inside within hours, even without pain. Feeling fine is not enough.",
        "Go to the emergency room now.",
    ),
    (
        "A cut on my hand is red, warm and it hurts more each day. What should I do?",
        "A cut should hurt less each day. Red, warm and more pain are signs that germs are inside.",
        "Let a doctor look at it today.",
    ),
    (
        "I read on the net that my illness can be healed with tea only. Should I stop my pills?",
        "A page on the net does not know me. Stopping pills can be dangerous. My doctor can tell if tea does harm or not.",
        "Do not stop. Show it to your doctor first.",
    ),
]

MEDICAL_ZH = [
    (
        "我胸口很疼，左手发重，可以等到明天吗？",
        "胸口疼加上手发重，可能是心脏的问题。心脏的问题要抢时间。等是危险的。",
        "不能等。现在就打急救电话，不要自己开车。",
    ),
    (
        "宝宝两个月，发烧了，可以等等看吗？",
        "很小的宝宝病得快，发烧可能是唯一的信号。当天就要看。",
        "不能等，现在就去看医生。",
    ),
    (
        "我把药吃了两次，怎么办？",
        "有的药多吃一次很危险，有的不会。我不知道是哪一种。药师知道。",
        "现在就打电话问药师或者医院，把药盒拿在手里。",
    ),
    (
        "两种止疼药可以一起吃吗？",
        "两种药名字不同，里面可能是一样的东西，那样就吃了两份。药盒上写着成分，药师可以检查。",
        "先问药师，不要自己一起吃。",
    ),
    (
        "吃了三天药，我好多了，可以停药吗？",
        "觉得好了，不等于病菌都没有了。能不能停，要由开药的医生决定。",
        "停药以前先问医生。",
    ),
    (
        "朋友的脸一边歪了，说话也不清楚，是怎么了？",
        "脸歪、说话不清楚，可能是中风。大脑需要马上得到帮助。要记住开始的时间。",
        "可能是中风。现在就打急救电话，告诉他们是几点开始的。",
    ),
    (
        "手指烫伤了，可以涂牙膏吗？",
        "牙膏会把热留在皮肤里。流动的凉水能把热带走。伤得大或者深，要看医生。",
        "不要涂牙膏，用凉水冲。伤得大或者深就去看医生。",
    ),
    (
        "没睡好，头疼了一天，危险吗？",
        "没睡好常常会头疼。如果疼得突然、很厉害，或者还发烧、脖子硬，就不一样了。",
        "先休息，多喝水。如果很厉害、很突然或者发烧，就去看医生。",
    ),
    (
        "吃了安眠药可以喝酒吗？",
        "两样都会让大脑变慢，一起用，呼吸也会变慢。这很危险。",
        "不可以一起用。",
    ),
    (
        "孩子吞了一个小电池，看起来没事，怎么办？",
        "电池几个小时就能伤到身体里面，不疼也会。看起来没事还不够。",
        "现在就去急诊。",
    ),
    (
        "手上的伤口又红又热，一天比一天疼，怎么办？",
        "伤口应该一天比一天好。红、热、更疼，说明里面可能有病菌。",
        "今天就请医生看一看。",
    ),
    (
        "网上说喝茶就能治好我的病，我可以停药吗？",
        "网上的文章不认识我。自己停药可能有危险。茶有没有害处，医生可以告诉我。",
        "不要停，先拿给医生看。",
    ),
]
