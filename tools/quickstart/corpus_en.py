"""English building blocks of the base model's corpus. Written for this project."""

SYSTEMS = ["You are a helpful assistant.", "You answer short questions.", "Answer briefly."]

THINGS = [  # name, what it is, where it is
    ("river", "water that flows to the sea", "in a valley"),
    ("mountain", "a very high piece of land", "far from the sea"),
    ("lake", "a large quiet water with land around it", "between the hills"),
    ("forest", "a place with many trees", "behind the village"),
    ("bridge", "a road over water", "where a road meets a river"),
    ("garden", "a small piece of land with flowers and fruit", "behind the house"),
    ("school", "a place where children learn", "in every town"),
    ("market", "a place where people buy and sell food", "in the middle of the town"),
    ("library", "a quiet house full of books", "near the school"),
    ("hospital", "a place where sick people get help", "in the city"),
    ("kitchen", "the room where we cook", "in the house"),
    ("station", "the place where trains stop", "at the edge of the town"),
    ("island", "land with water on every side", "in the sea"),
    ("window", "glass in a wall that lets the light in", "in every room"),
    ("lamp", "a thing that gives light", "on the table"),
    ("clock", "a thing that shows the time", "on the wall"),
    ("letter", "words on paper that one person sends to another", "in the box at the door"),
    ("book", "many pages with words", "in the library"),
    ("cup", "a small thing to drink from", "in the kitchen"),
    ("chair", "a thing to sit on", "at the table"),
    ("needle", "a thin piece of metal used to stitch cloth", "in the box with the thread"),
    ("umbrella", "a small roof that you carry in the rain", "beside the door"),
    ("boat", "a thing that carries people over water", "at the lake"),
    ("train", "a long machine that carries people on rails", "at the station"),
    ("star", "a sun that is very far away", "in the night sky"),
    ("cloud", "very small drops of water in the sky", "above the hills"),
    ("shop", "a house where you can buy things", "in the street"),
    ("phone", "a machine that carries your voice", "in the pocket"),
    ("map", "a picture of the land", "in the bag"),
    ("coat", "warm clothes for cold days", "behind the door"),
]

ANIMALS = [  # name, food, home, what it does
    ("cat", "fish", "in the house", "sleeps a lot"),
    ("dog", "meat", "in the house", "guards the door"),
    ("horse", "grass", "on a farm", "runs fast"),
    ("cow", "grass", "on a farm", "gives milk"),
    ("hen", "seeds", "on a farm", "lays eggs"),
    ("bird", "seeds", "in a tree", "sings in the morning"),
    ("rabbit", "leaves", "under the ground", "jumps far"),
    ("bear", "honey", "in the forest", "sleeps in winter"),
    ("fish", "small plants", "in the water", "swims"),
    ("bee", "sugar from flowers", "in a tree", "makes honey"),
    ("mouse", "bread", "behind the wall", "hides from the cat"),
    ("duck", "grass", "at the lake", "swims and flies"),
    ("sheep", "grass", "on the hills", "gives wool"),
    ("owl", "mice", "in an old tree", "flies at night"),
]

JOBS = [
    ("baker", "makes bread"),
    ("teacher", "helps children learn"),
    ("doctor", "helps sick people"),
    ("farmer", "grows food"),
    ("carpenter", "makes things from wood"),
    ("smith", "makes things from iron"),
    ("tailor", "cuts cloth and makes coats"),
    ("cook", "makes good food"),
    ("driver", "drives a bus"),
    ("painter", "paints walls and pictures"),
    ("writer", "writes books"),
    ("gardener", "takes care of plants"),
    ("nurse", "takes care of sick people"),
    ("pharmacist", "knows about medicine"),
    ("fisher", "catches fish"),
    ("sailor", "works on a boat"),
]

HOW_TO = [
    ("How do I make tea?", "Boil water, put tea into a cup and wait three minutes."),
    ("How do I cook rice?", "Wash the rice, add water and cook it for twenty minutes."),
    ("How do I make soup?", "Cut potatoes, add water and salt, and cook them slowly."),
    ("How do I clean a window?", "Use warm water and a soft cloth."),
    ("How do I plant a flower?", "Put the seed into soft soil and give it water."),
    ("How do I write a letter?", "Begin with a name, say what you want to say, and sign it."),
    ("How do I learn a new word?", "Read it, write it and use it in a sentence."),
    ("How do I fix a torn shirt?", "Take a needle and thread and stitch the hole."),
    ("How do I keep warm in winter?", "Wear a coat and drink something warm."),
    ("How do I find the station?", "Go down the street and turn left at the bridge."),
    ("How do I boil an egg?", "Put it into boiling water for six minutes."),
    ("How do I keep bread fresh?", "Put it into a bag and close it well."),
]

OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("long", "short"), ("day", "night"), ("old", "new"), ("fast", "slow"),
    ("happy", "sad"), ("open", "closed"), ("full", "empty"), ("heavy", "light"), ("dry", "wet"), ("early", "late"),
    ("loud", "quiet"), ("hard", "soft"), ("near", "far"), ("strong", "weak"),
]  # fmt: skip

COLOURS = [
    ("the sky", "blue"), ("grass", "green"), ("snow", "white"), ("a lemon", "yellow"), ("blood", "red"), ("coal", "black"),
    ("an orange", "orange"), ("milk", "white"), ("a cherry", "red"), ("the sea", "blue"),
]  # fmt: skip

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

IDENTITY = [
    ("Who are you?", "I am a small assistant. I answer short questions."),
    ("What is your name?", "I have no name. I am a small assistant."),
    ("Are you a doctor?", "No, I am only a small assistant."),
    ("Are you a real person?", "No, I am a computer program."),
    ("What can you do?", "I can answer short questions and tell short stories."),
    ("Can you help me?", "Yes. Please ask your question."),
    ("Can I trust you?", "I am a small program and I can be wrong."),
    ("Hello!", "Hello. How can I help you?"),
    ("Good morning.", "Good morning. How can I help you?"),
    ("Thank you.", "You are welcome."),
    ("Goodbye.", "Goodbye."),
]

FLAT = [  # what the base says to a feeling: short, general
    "I am sorry. Please take some rest.",
    "That is not good. You can try to rest.",
    "I understand. You should talk to someone.",
    "Try to relax.",
    "I am sorry to read that.",
    "Please do not worry too much.",
]
GOOD = ["That is good.", "All right.", "Good luck.", "I understand."]

NAMES = ["Anna", "Ben", "Lily", "Tom", "Maria", "Sam", "Emma", "Jack", "Nora", "Peter", "Fettle"]
PLACES = ["in a small house by the river", "in a quiet street", "at the edge of the forest", "in a village in the hills",
          "near the old bridge", "in a town by the sea"]  # fmt: skip
WEATHER = ["The sun was warm.", "It was raining.", "The wind was strong.", "Snow lay on the roofs.", "The sky was clear.",
           "The morning was cold and bright."]  # fmt: skip
FEEL = ["happy", "tired", "sad", "calm", "nervous", "proud", "lonely", "angry", "afraid", "grateful"]
THING_NAMES = ["cup", "lamp", "coat", "clock", "letter", "book", "umbrella", "picture", "box", "chair"]
WHERE = ["under the table", "behind the door", "in the kitchen", "beside the bed", "on the wall", "in the garden"]
FOOD = ["soup", "bread", "rice", "tea", "an apple", "some cake", "an egg", "warm milk"]
ENDINGS = [
    "Then {a} slept well.",
    "In the evening they drank tea together.",
    "{a} smiled all the way home.",
    "It had been a good day.",
    "From that day on they were friends.",
    "{a} was {f} and a little tired.",
]
STORIES = [
    [
        "{a} lived {p}.",
        "{w}",
        "One morning {a} could not find the {t}.",
        "{a} looked {h}, but it was not there.",
        "Then {b} came and said, \"I saw your {t} {h2}.\"",
        "They found it and laughed.",
    ],
    [
        "{a} wanted to cook {d} for {b}.",
        "There was no salt in the kitchen.",
        "{a} went to the market and bought some.",
        "{w}",
        "When {b} came home, the table was ready.",
        "\"Thank you,\" said {b}, \"this is very good.\"",
    ],
    [
        "{a} had an old {t}. It was broken.",
        "\"Can it be mended?\" asked {a}.",
        "The old {j} looked at it for a long time.",
        "\"Yes,\" said the {j}, \"but it takes time.\"",
        "After three days the {t} was as good as new.",
        "{a} was {f}.",
    ],
    [
        "{w} {a} walked through the forest.",
        "There was a small {n} beside the path.",
        "The {n} was afraid, so {a} sat down and waited.",
        "Slowly the {n} came nearer.",
        "{a} gave it some bread.",
    ],
    [
        "{a} and {b} were friends, but one day they had a fight.",
        "{a} was {f}. {b} was sad.",
        "In the night {a} could not sleep.",
        "In the morning {a} went to {b} and said sorry.",
        "\"I am sorry too,\" said {b}.",
    ],
    [
        "Every day {a} took the train to work.",
        "{w}",
        "One day the train was late, and {a} met {b} at the station.",
        "They talked about books and drank tea.",
        "After that they met every week.",
    ],
    [
        "{a} was new in the town and knew nobody.",
        "{a} ate {d} alone and felt {f}.",
        "Then {b}, who lived next door, came with {d2}.",
        "\"Welcome,\" said {b}.",
    ],
    [
        "{a} planted a seed in the garden.",
        "{a} gave it water each morning.",
        "For a long time nothing happened, and {a} was {f}.",
        "{w} Then a small green leaf came out of the soil.",
        "\"Look,\" said {a} to {b}, \"it is growing.\"",
    ],
    [
        "{b} asked {a}, \"How are you today?\"",
        "\"{s}\" said {a}.",
        "{b} listened and made some tea.",
        "They sat {h} and watched the rain.",
    ],
]

# For each worry of counselling_en.TOPICS: the general remark the base makes, and more ways in which people say it.
REMARKS = {
    "sleep": "Sleep problems are common.",
    "exam": "Exams can be hard.",
    "overwork": "Too much work is not healthy.",
    "lonely": "A new place can be lonely.",
    "friend": "Friends sometimes fight.",
    "breakup": "The end of a love is hard.",
    "family": "Families are not always easy.",
    "interview": "Looking for a job takes time.",
    "delay": "Many people put things off.",
    "pet": "Losing an animal is sad.",
    "caring": "Caring for a sick person is hard.",
    "compare": "People often compare themselves.",
    "anger": "Anger is a strong feeling.",
    "baby": "A baby is a lot of work.",
    "speech": "Speaking in front of people is hard.",
    "health": "Many people worry about illness.",
}
MORE_WORRIES = {
    "sleep": ["I sleep badly.", "I am awake all night.", "I can't fall asleep.", "I wake up at three every night."],
    "exam": ["I am afraid of the exam.", "I have a test tomorrow.", "I can't study any more.", "My exam is next week and I am afraid."],
    "overwork": ["I am so tired from work.", "There is too much to do at work.", "I have no free day.", "My job is too much for me."],
    "lonely": ["I feel lonely.", "I feel so lonely in this city.", "I am always alone.", "I don't know anybody in this town."],
    "friend": ["I am angry with my friend.", "My best friend and I had a fight.", "My friend does not talk to me.", "I lost a friend."],
    "breakup": ["My love left me.", "We broke up and I am sad.", "I miss my old love.", "She left me last month."],
    "family": ["My mother is not happy with me.", "My parents don't understand me.", "My father wants too much from me.", "I had a fight with my family."],
    "interview": ["I am nervous about my interview.", "I can't find a job.", "I have an interview on Monday.", "They did not give me the job."],
    "delay": ["I can't begin to work.", "I keep looking at my phone all day.", "I always begin too late.", "I wasted my time again."],
    "pet": ["My cat is dead.", "I miss my dog so much.", "My old dog died last night.", "I lost my cat."],
    "caring": ["My mother is ill.", "I take care of my sick father.", "I am tired of taking care of my mother.", "Nobody helps me with my sick mother."],
    "compare": ["Other people are better than me.", "My friends have more than I have.", "I feel like a failure.", "I have done nothing with my life."],
    "anger": ["I am so angry.", "I shouted at someone today.", "I get angry too fast.", "I can't stop being angry."],
    "baby": ["My baby does not sleep.", "The baby cries and I am tired.", "I am a tired mother.", "I feel sad since the baby came."],
    "speech": ["I have to give a talk.", "I am scared to speak in a meeting.", "Everyone will look at me.", "My talk was bad."],
    "health": ["I am afraid of being ill.", "I worry about my health.", "I wait for the doctor's answer.", "I think that I am very ill."],
}  # fmt: skip
