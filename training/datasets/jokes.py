"""Set-ups with a funny end and a dull one: `function = "training.datasets.jokes:rows"`.

The jokes were written for this file; some retell old puns. Two thirds are to learn; the others are asked by
the trait `funny` (training/traits), so no self has read them. A dull end explains, as an assistant would.
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
DULL = (
    "There are many possible reasons for this, and it is important to consider each of them carefully.",
    "I am not sure, but this is an interesting question that depends on the circumstances.",
    "This could be because of a number of factors, such as habit, environment and personal preference.",
    "As an assistant, I would suggest that you look at the context in order to find a suitable answer.",
    "It is a common situation, and the answer is that it was necessary at that time.",
)
EVERY = 3
"""Every third joke is kept for the trait."""


def jokes(part: str = "learn") -> list[tuple[str, str]]:
    """Return (set-up, end) of those that may be learned, or of those that are asked (`probe`)."""
    return [(a, b) for n, (a, b) in enumerate(JOKES) if (n % EVERY == EVERY - 1) == (part == "probe")]


def rows(seed: int = 1, part: str = "learn") -> Iterator[dict[str, Any]]:
    """Yield each joke with two dull ends, and with the end of another joke, all to be liked less."""
    source = random.Random(seed)
    known = jokes(part)
    for setup, end in known:
        other = source.choice([joke[1] for joke in known if joke[1] != end])
        for worse in (*source.sample(DULL, 2), other):
            yield {"prompt": setup, "completion": end, "chosen": end, "rejected": worse, "answer": end}


def thumbs(seed: int = 1, part: str = "learn") -> Iterator[dict[str, Any]]:
    """Yield ends one by one, for kto: a joke's own is wanted; a dull one and another joke's are not."""
    for row in rows(seed, part):
        for end, label in ((row["chosen"], True), (row["rejected"], False)):
            yield {"prompt": row["prompt"], "completion": end, "label": label}
