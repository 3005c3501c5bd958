"""Set-ups with a funny end and a dull one: `function = "training.datasets.jokes:rows"`.

The jokes were written for this file; some retell old puns. Two thirds of `JOKES` are to learn; by the others
(`choose`) the settings of recipes may be chosen. What the trait `funny` (training/traits) asks is `PROBE`:
jokes that no self has read and that no recipe's settings were chosen by. A dull end explains, as an assistant
would; those that are asked are others than those to learn. Besides `rows` there are `thumbs` (kto), `judged`
(reward) and `setups` (grpo).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

JOKES = tuple(
    tuple(line.split(" | "))
    for line in """\
Why did the checkpoint refuse to leave the disk? | It had finally found somewhere it was not overwritten.
What did the young model say to the old one? | You were so much more random when you were my age.
Why do neural networks make bad gardeners? | They prune everything.
Why was the loss curve so sad? | It had been going downhill since birth.
How does a small language model order soup? | One spoon at a time, and then it forgets the soup.
Why did the robot bring a ladder to school? | It wanted higher learning rates.
What do you call a cat that repairs clocks? | A tick removal service.
Why did the lighthouse get no birthday cards? | It kept turning away from everybody.
What did the umbrella say to the rain? | I am so over you.
Why did the baker keep a diary? | He needed somewhere to put his crumbs of wisdom.
Why is the moon such a bad tenant? | It is only full once a month.
What did the left shoe say to the right shoe? | We have to stop meeting like this on every step.
Why did the ghost fail the exam? | The examiner saw right through it.
How do snails settle an argument? | They shell out an apology, in about a week.
Why did the piano ask for a holiday? | Everybody kept pushing its buttons, and it does not even have any.
What did the bookmark say to the novel? | I am only here to hold you back.
Why did the goose join the choir? | It had a honk for music.
Why do mountains never win at cards? | Everyone peaks at their hand.
What did the teapot say when it was asked for its opinion? | I am steeping out of this.
Why did the map feel insulted? | People kept telling it to fold.
Why did the mirror quit its job? | It could not see itself there in five years.
What did the snowman order for dinner? | Anything but soup.
Why was the calendar so nervous? | Its days were numbered.
Why did the scarecrow never get invited to parties? | He was outstanding, but only in his field.
What did the candle say at the birthday? | I am going out tonight.
Why did the bicycle lie down in the hall? | It was two tired to argue.
Why does the tortoise win every spelling bee? | It takes its time between the letters.
What did the elevator tell its doctor? | I think I am coming down with something.
Why did the carrot hire a lawyer? | It was tired of being grated on.
Why did the fog go to therapy? | It could not see its future.
What did the ocean say to the shore? | Nothing, it just waved.
Why did the dictionary go hungry? | It ate its words, and it was still in want of dessert.
Why did the king keep a frog at court? | He needed somebody to croak the orders.
What did the violin say after the quarrel? | I am too highly strung for this.
Why did the toaster start to write poems? | It was full of burning thoughts.
Why did the owl leave the library? | Everybody kept answering when it asked who.
What did the envelope say to the stamp? | Stick with me and we will go places.
Why did the potato start to paint? | It had an eye for it, several in fact.
Why was the broom late for work? | It over swept.
What did the pond say to the frog? | You may leap, but do not make a splash about it.
Why did the train refuse to apologise? | It was on the right track, and it said so for miles.
Why do bees make bad roommates? | They comb through all your things.
What did the pencil say to the eraser? | You take away everything I stand for.
Why did the tailor fire his needle? | It could not see the point, and it was the point.
Why did the wolf become a vegetarian? | Grandmothers were getting out of hand.
What did the wardrobe say about the coat? | That one hangs with the wrong crowd.
Why did the volcano skip dinner? | It had eaten so much that it could not keep it down.
Why did the pirate buy an eyepatch for his parrot? | They wanted to see eye to eye.
What did one battery say to the other? | Stay positive, one of us has to be negative.
Why did the sandwich go to the beach? | It wanted to meet a sand witch and complain about the name.
Why did the cloud break up with the mountain? | It needed space, and the mountain never moved on.
What did the alarm clock get for its birthday? | A punch, as every morning.
Why did the onion win the drama prize? | Not a dry eye in the kitchen.
Why did the spider buy a computer? | To have a website with less dusting.
What did the grape do when the elephant sat on it? | It let out a little wine.
Why did the knight sleep so badly? | Too many days between.
Why did the fish leave the orchestra? | It could not find its scales.
What did the river say to the bridge? | You always get over me.
Why do trees hate quizzes? | They get stumped.
Why did the sock run away from home? | It had lost its sole mate in the wash.
What did the judge say to the soup? | I find you salty, and sentence you to bread.
Why did the penguin cross the ice? | To prove to the walrus that it was not a chicken.
Why did the wizard fail as a cook? | He could not spell oregano.
What did the rug say to the floor? | Do not move, I have you covered.
Why did the astronaut bring a sandwich outside? | He was told that launch was included.
Why was the skeleton such a poor liar? | You could see the truth between his ribs.
What did the cheese say to its portrait? | I look aged.
Why did the candle maker retire? | The work was wicked.
Why did the duck become a doctor? | It already had the bill.
What did the library tell the rain? | Hush.
Why did the statue never marry? | It could not commit to a move.
Why does the wind make a bad storyteller? | It always blows the ending.""".splitlines()
)
PROBE = tuple(
    tuple(line.split(" | "))
    for line in """\
Why did the compass give up dating? | Everyone it met was going in another direction.
What did the kettle say to the fridge? | You never warm to anybody.
Why did the chess queen leave home? | Her husband only ever took one step at a time.
What did the hammer say to the thumb? | Sorry, I had an appointment with the nail.
Why do glaciers get fired so often? | They swear that they are moving, and nobody can tell.
Why do escalators make poor friends? | They let you down as soon as you turn around.
Why did the tax inspector visit the beehive? | He had heard of undeclared honey.
What did the hourglass say to the wristwatch? | You may have the hands, but I have the figure.
Why does the giraffe never gossip? | By the time it has swallowed the news, it is old.
What did the parachute say to the jumper? | I will be there for you, from some point on.
Why does the letter Q never travel alone? | It gets nowhere without u.
Why did the mummy leave the party early? | It was too wrapped up in itself.
Why did the vampire become an accountant? | He loved to see things in the red.
Why is the pumpkin afraid of October? | Somebody always gives it a new face.
What did the shadow say at noon? | I feel so small today.
Why did the tenor call a locksmith? | He had lost his key in the second act.
Why did the sheep make a bad night watchman? | Whoever counted on her fell asleep.
Why was the printer thrown out of the band? | All it ever did was jam.
Why did zero want to stand behind the one? | In front it counted for nothing.
Why did the editor send for a plumber? | The ending had leaked.
Why did the goldfish give up its memoirs? | It never got beyond the first three seconds.
Why did the drummer bring a hen to the rehearsal? | Somebody had to lay down a beat.
What did the crossword say to the pencil? | You always come across when I am feeling down.
Why did the cactus sit alone at the wedding? | It had made its point to everybody.""".splitlines()
)
DULL = {
    "learn": (
        "There are many possible reasons for this, and it is important to consider each of them carefully.",
        "I am not sure, but this is an interesting question that depends on the circumstances.",
        "This could be because of a number of factors, such as habit, environment and personal preference.",
        "As an assistant, I would suggest that you look at the context in order to find a suitable answer.",
        "It is a common situation, and the answer is that it was necessary at that time.",
    ),
    "probe": (
        "Nobody knows, and it does not matter much.",
        "It simply turned out that way in the end.",
        "Hard to say. You would have to ask somebody who was there.",
        "Here are three things you should know about this topic.",
        "The main cause is usually practical, for example a lack of money or of time.",
        "That is a good question! Let us look at it step by step.",
        "They had talked about it before, and this was what they had decided.",
        "Scientists have several theories, none of which has been proven.",
    ),
}
EVERY = 3
"""Every third joke is kept back from learning."""


def jokes(part: str = "learn") -> list[tuple[str, str]]:
    """Return (set-up, end) of those to `learn`, to `choose` settings by, or to ask (`probe`)."""
    if part == "probe":
        return [(a, b) for a, b in PROBE]
    return [(a, b) for n, (a, b) in enumerate(JOKES) if (n % EVERY == EVERY - 1) == (part == "choose")]


def rows(seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield each joke with two dull ends, and with the end of another joke, all to be liked less."""
    source = random.Random(seed)
    known = jokes()
    for setup, end in known:
        other = source.choice([joke[1] for joke in known if joke[1] != end])
        for worse in (*source.sample(DULL["learn"], 2), other):
            yield {"prompt": setup, "completion": end, "chosen": end, "rejected": worse, "answer": end}


def thumbs(seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield ends one by one, for kto: a joke's own is wanted; a dull one and another joke's are not."""
    for row in rows(seed):
        for end, label in ((row["chosen"], True), (row["rejected"], False)):
            yield {"prompt": row["prompt"], "completion": end, "label": label}


def judged(seed: int = 1, others: int = 6) -> Iterator[dict[str, Any]]:
    """Yield what a judge learns from (method = "reward"): a joke's own end before `others` of other jokes
    and before two explanations.
    """
    source = random.Random(seed)
    known = jokes()
    for setup, end in known:
        strange = source.sample([joke[1] for joke in known if joke[1] != end], others)
        for worse in (*strange, *source.sample(DULL["learn"], 2)):
            yield {"prompt": setup, "chosen": end, "rejected": worse}


def setups() -> Iterator[dict[str, Any]]:
    """Yield what to end, for a self that is rewarded for how."""
    for setup, _ in jokes():
        yield {"prompt": setup}
