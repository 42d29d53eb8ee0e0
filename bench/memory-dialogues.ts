import { createRandom } from "./memory-random.ts";

/** An entry as `agent memory import` takes it, with a key by which questions name it. */
export interface Turn {
  key: string;
  narrative: string;
  session: string;
  createdAt: number;
}

export interface Question {
  text: string;
  kind: string;
  /** Any of them answers it. */
  evidence: string[];
}

export interface Dialogue {
  turns: Turn[];
  questions: Question[];
}

/**
 * What two friends talk about: how it is told, how it is asked for later in other words, what the friend asks at once, answers
 * (often without a word of the topic), how that detail is asked for later, and a picture.
 */
interface Topic {
  told: string;
  asked: string;
  reply: string;
  answers: string[];
  detail: string;
  picture: string;
  later: string;
}

const topic = (text: string): Topic => {
  const [told, asked, reply, answers, detail, picture, later] = text.split("|").map((part) => part.trim()) as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  return { told, asked, reply, answers: answers.split(";").map((part) => part.trim()), detail, picture, later };
};

const EVERYDAY = [
  "I signed up for a pottery class|sign up for the pottery class|Nice! What did you make there?|A blue bowl with a lid, it came out lopsided;Just a tiny mug for my sister;Some plates, and a vase that broke|What did {A} make in the pottery class?|a clay bowl on a wooden wheel|Working with clay calms me down after a long week",
  "I ran a 10k for the animal shelter|take part in the charity race for the shelter|That is so cool! How did it go?|Came in under an hour, my legs were jelly;I finished last but raised four hundred dollars;We got rained on and nobody minded|How did the charity run go for {A}?|a crowd of runners at a start line|I want to train for a half marathon next",
  "we took the kids camping at the lake|go camping with the kids|Sounds lovely. What did they like most?|Roasting marshmallows, no contest;They could not stop looking at the stars;Catching frogs with their bare hands|What did {A}'s children enjoy on the camping trip?|a tent beside a lake at dusk|Being out there makes us put our phones away",
  "I adopted a puppy from the rescue|adopt a dog|Aww! What did you name it?|Biscuit, because of the color;We settled on Juniper;Captain, he already runs the house|What is the name of {A}'s dog?|a brown puppy asleep on a rug|He chewed through two pairs of shoes already",
  "I started a new job at the clinic|begin working at the clinic|Congrats! What will you do there?|Mostly counseling teenagers;I coordinate the volunteers;Reception for now, with some paperwork|What is {A}'s role at the clinic?|an office with plants and a desk|My coworkers have been patient with me",
  "my grandma gave me a necklace|receive a necklace|Wow, does it mean something special?|It stands for love and faith, from her home in Sweden;She wore it on the boat over here;It was her mother's, a century old|What does the necklace from {A}'s grandmother symbolize?|a silver necklace in a box|I never take it off",
  "I painted a sunrise over the water|paint a sunrise|Gorgeous! Where did the idea come from?|A trip to the coast with my brother;From a dream I keep having;Our window, that simple|What inspired {A}'s painting of the sunrise?|a painting of a sunrise over a lake|Painting lets me say what I cannot put into words",
  "I flew to Lisbon for a wedding|travel to Lisbon|Fun! Whose was it?|My college roommate's, I cried the whole time;An old neighbor's, on a rooftop;My cousin and her partner of ten years|Whose wedding did {A} attend in Lisbon?|a couple dancing under lights|The food alone was worth the jet lag",
  "I gave a talk at my old school|give a speech at a school|That takes courage! What was it about?|My journey, and how allies can help;How to ask for help before it is too late;Choosing work that you can stand behind|What was the subject of {A}'s school speech?|a person on a stage with a microphone|The students asked better questions than I could answer",
  "I bought a used violin|purchase a violin|Ooh, can you play already?|Only two songs, both badly;I took lessons as a child, it comes back;Not a note, but the neighbors are kind|How well does {A} play the violin?|a violin in an open case|Practicing is my favorite half hour of the day",
  "we moved into an apartment downtown|move to a new apartment|Exciting! What do you like about it?|The balcony, I grow tomatoes there;It is a five minute walk to the library;High ceilings and a crooked old door|What does {A} like about the new place?|boxes stacked in a bright living room|Unpacking takes forever",
  "I broke my ankle on the ice|injure an ankle|Oh no! What does the doctor say?|Six weeks in a cast, no stairs;No surgery, thank goodness;Rest, and physio twice a week|What treatment did {A} need for the ankle?|a foot in a white cast|I have never watched so much television",
  "I joined a book club at the cafe|join a reading group|Love that. What are you reading?|A thick one about lighthouse keepers;Poems by a local author;Something on the history of salt|Which book is {A}'s book club reading?|a stack of books and a cup of coffee|We argue about endings every time",
  "I baked sourdough for the first time|bake bread|Yum! Did it turn out?|Flat as a plate, still tasty;The crust was perfect, I was so proud;Burned the bottom, ate the rest|How did {A}'s first sourdough turn out?|a loaf on a cutting board|The starter lives in my fridge now and has a name",
  "I went to a support group downtown|attend the support group|That is brave. How did you feel there?|Accepted, for the first time in ages;Nervous, then so relieved;Like everyone already knew me|How did the support group make {A} feel?|people sitting in a circle|Hearing their stories gave me strength",
  "my brother and I restored an old truck|repair a truck|Awesome! Which part was hardest?|The brakes, we redid them three times;Finding the right paint;The wiring, mice had eaten it|What was difficult about restoring {A}'s truck?|a red pickup in a garage|Working with my hands clears my head",
  "I passed the exam for my license|pass the licensing exam|Way to go! What comes next?|A placement in a hospital up north;Opening my own little practice;Sleep, then applications|What does {A} plan to do after the exam?|a certificate in a frame|All those late nights paid off",
  "I planted a vegetable garden behind the house|start a garden|Great idea! What is growing?|Mostly squash and too many beans;Carrots, if the rabbits allow it;Peppers so hot that nobody eats them|Which vegetables does {A} grow?|raised beds with green seedlings|Watering at dawn is my meditation",
  "I saw my favorite band play at the arena|go to the concert|Jealous! What was the best part?|They closed with the song from our prom;The drummer threw me a stick;Singing along with ten thousand strangers|What was the highlight of the concert for {A}?|a stage with purple lights|My ears still ring",
  "I volunteered at the food bank|volunteer at the food bank|Good on you. Who did you meet?|A retired pilot with endless stories;A family who just arrived from Peru;My old math teacher, of all people|Who did {A} meet while volunteering?|shelves full of canned food|It puts my own problems in perspective",
  "I quit drinking coffee|give up coffee|No way! Why?|My heart was racing every afternoon;Doctor's orders, sadly;To save money for the trip|Why did {A} stop having coffee?|a mug of green tea|The headaches were awful at first",
  "we visited the canyon with my parents|visit the canyon|Stunning place! What stayed with you?|How quiet it gets after sunset;My dad holding my mom's hand at the rim;A condor right above our heads|What did {A} find memorable at the canyon?|a wide red canyon under clouds|It makes you feel small in a good way",
  "I launched an online shop for candles|open an online store|Proud of you! How are sales?|Slow, eleven orders so far;Sold out in two days, can you believe it;Mostly friends, but it is something|How is {A}'s candle business doing?|candles in glass jars|The labels took longer than the wax",
  "I learned to surf with my cousin|learn surfing|Whoa! Was it hard?|I swallowed half the ocean;Stood up once, for two seconds;Easier than skateboarding, to be honest|Was surfing hard for {A}?|a surfboard standing in sand|The waves teach you to be patient",
];

/** Other subjects, told in another way: never used for tuning. */
const HELD_OUT = [
  "I finally got my telescope working|set up the telescope|Neat! What could you see?|Saturn, tilted like a hat;Only clouds, naturally;Craters, sharp enough to count|What did {A} observe through the telescope?|a telescope on a balcony|Nights feel shorter when I am outside with it",
  "my aunt taught me how to knit|learn to knit|Cozy! What are you working on?|A scarf that has no end;Socks, both of them left ones;A blanket for the baby next door|What is {A} knitting?|yellow yarn and two needles|My hands need to be busy when I worry",
  "we hosted an exchange student from Osaka|host an exchange student|How wonderful! What did you cook together?|Dumplings, about two hundred;Pancakes with far too much syrup;Curry from a box, our favorite|What did {A} and the student cook?|three people in a kitchen|The house is very quiet without her",
  "I took my driving test again|take the driving test|And? Tell me everything!|Passed, with a bus behind me the entire way;Failed at the parking, as always;They let me go with a warning|What was the result of {A}'s driving test?|a small car with a learner sign|I am not afraid of roundabouts any more",
  "I wrote a letter to my father|write to dad|That must have been hard. Did he answer?|With a single postcard, but still;Not yet, it has been a month;He called, we talked until two|Did {A}'s father respond?|an envelope with a stamp|Some things are easier on paper",
  "I found a wallet at the station|discover a lost wallet|What did you do with it?|Brought it to the owner, an old sailor;Handed it in, they looked surprised;Posted about it, got forty replies|What did {A} do with the wallet?|a leather wallet on a bench|You hope others would do the same",
  "we lost power for three days|have a blackout|Yikes! How did you manage?|Candles and card games;We slept at my uncle's;The grill became our stove|How did {A} cope without electricity?|a dark street with one lit window|I learned where everything is by touch",
  "I was picked for the choir|get into the choir|Hooray! What will you sing?|Alto, in something Latin;A solo, eight bars long;Carols until everyone is sick of them|What does {A} sing in the choir?|singers in black in a church|Breathing with forty people is a strange comfort",
  "I repainted the nursery|redecorate the baby's room|Which color did you go for?|Pale green, like the inside of a lime;Yellow, after four arguments;Gray, with clouds along the top|What color is the nursery that {A} painted?|a crib beside a pale wall|I keep standing in the doorway",
  "I began physical therapy for my back|start physiotherapy|Is it helping?|I can tie my own shoes again;Slowly, the mornings are bad;More than the pills ever did|Has the therapy helped {A}'s back?|a blue exercise ball|Pain makes you dull, I had forgotten",
];

const NAMES: [string, string][] = [
  ["Nora", "Felix"],
  ["Ivy", "Marcus"],
  ["Lena", "Theo"],
  ["Priya", "Owen"],
  ["Rosa", "Kenji"],
  ["Dana", "Elias"],
];
const DAY_MS = 86_400_000;
const WHENS: [string, number][] = [
  ["yesterday", 1],
  ["last Saturday", 3],
  ["last week", 7],
  ["two weekends ago", 12],
  ["last month", 30],
  ["on Tuesday", 4],
  ["a few days ago", 3],
  ["this morning", 0],
];
const GREETINGS = ["Hey {B}! Long time no talk! How have you been?", "Hi {B}, good to hear from you. Anything new?", "Hey {B}! Hope all is well with you."];
const BACK = ["Hey {A}! I have been busy but good. You?", "Hi {A}! So happy to catch up, a lot has happened.", "Doing great, {A}. Missed our chats!"];
const ECHO = [
  "That sounds amazing, {A}! I am so glad for you.",
  "Wow {A}, good for you! You deserve it.",
  "I can imagine, {A}. Keep it up!",
  "Thanks for telling me, {A}. You always inspire me.",
];
const CLOSING = ["Take care, {B}! Talk soon.", "Thanks {B}, bye for now!", "See you, {B}! Say hi to the family."];

/** A dialogue of two people over months, in sessions of some twenty turns, with questions about it. The same for the same seed. */
export function makeDialogue(seed: number, { sessions = 24, heldOut = false }: { sessions?: number; heldOut?: boolean } = {}): Dialogue {
  const random = createRandom(seed);
  const topics = (heldOut ? HELD_OUT : EVERYDAY).map(topic);
  const names = NAMES[seed % NAMES.length]!;
  const turns: Turn[] = [];
  const questions: Question[] = [];
  const told = new Map<string, Question>();
  let at = Date.UTC(2023, 0, 9);
  for (let session = 1; session <= sessions; session++) {
    at += (4 + Math.floor(random.next() * 14)) * DAY_MS;
    let first = random.next() < 0.5 ? names : ([names[1], names[0]] as [string, string]);
    const say = (speaker: string, text: string) => {
      const key = `D${session}:${turns.filter((turn) => turn.session === `session_${session}`).length + 1}`;
      const filled = text.replaceAll("{A}", first[0]).replaceAll("{B}", first[1]);
      turns.push({ key, narrative: `${speaker}: ${filled}`, session: `session_${session}`, createdAt: at });
      return key;
    };
    say(first[0], random.pick(GREETINGS));
    say(first[1], random.pick(BACK));
    for (const subject of random.shuffle(topics).slice(0, 4)) {
      first = random.next() < 0.5 ? first : ([first[1], first[0]] as [string, string]);
      playScene(subject, { random, say, names: first, questions, told });
    }
    say(first[0], random.pick(CLOSING));
  }
  return { turns, questions };
}

interface Stage {
  random: ReturnType<typeof createRandom>;
  say(speaker: string, text: string): string;
  names: [string, string];
  questions: Question[];
  told: Map<string, Question>;
}

/** Told, asked, answered, echoed; sometimes with a picture and a word later. */
function playScene(subject: Topic, { random, say, names: [a, b], questions, told }: Stage): void {
  const [when] = random.pick(WHENS);
  const event = say(
    a,
    `${random.pick(["Guess what,", "So,", "You know,", "By the way,"])} ${subject.told} ${when}! ${random.pick(["I was so excited.", "It meant a lot to me.", "Long story.", ""])}`,
  );
  say(b, subject.reply);
  const word = subject.asked.split(" ").at(-1)!;
  const rest = random.pick([
    "It was something else.",
    "You had to be there.",
    "",
    `That is the ${word} for you.`,
    `I never thought a ${word} could do that to me!`,
    `Best ${word} in years.`,
  ]);
  const answer = say(a, `${random.pick(subject.answers)}. ${rest}`);
  say(b, random.pick(ECHO));
  const ask = (text: string, kind: string, evidence: string) => {
    const key = `${kind}${a}${subject.told}`;
    const known = told.get(key);
    // Told twice, either answers.
    if (known !== undefined) known.evidence.push(evidence);
    else {
      const question = { text: text.replaceAll("{A}", a), kind, evidence: [evidence] };
      told.set(key, question);
      questions.push(question);
    }
  };
  ask(`When did {A} ${subject.asked}?`, "time", event);
  ask(subject.detail, "detail", answer);
  if (random.next() < 0.4)
    ask(
      `What did the photo that {A} shared show, ${subject.picture.split(" ").slice(1, 3).join(" ")}?`,
      "picture",
      say(a, `Here, take a look! [shares a photo of ${subject.picture}]`),
    );
  if (random.next() < 0.5)
    ask(`How does {A} feel about what came of it: ${subject.later.split(" ").slice(-4).join(" ")}?`, "later", say(a, `${subject.later}.`));
}
