"""Names of two words, for credentials whose owner gave none: easier to say and to find again than an id [pure]."""

from collections.abc import Callable, Sequence
from typing import Final

_ADJECTIVES: Final = (
    "able agile airy amber ample apt azure blithe bold brave breezy bright brisk calm candid cheery chief "
    "civil clean clear clever cosy crisp curly daring deep deft eager early earnest easy fair fancy fine firm "
    "fleet fond frank free fresh gentle glad golden good grand great green handy hardy hearty honest humble "
    "ideal jolly just keen kind large late lively lofty loyal lucid lucky mellow merry mild modest neat "
    "nimble noble open patient plain polite prime proud quick quiet rapid ready rosy round royal secret "
    "serene sharp shiny silent silver simple sleek smart smooth snug solid sound spry steady stout sturdy "
    "sunny sure swift tall tender tidy true upright vivid warm wise witty"
)
_NOUNS: Final = (
    "acorn alder anchor antelope arrow ash badger bamboo basin bay beacon beaver beech birch bison blossom "
    "breeze bridge brook canyon cedar cliff cloud clover comet condor coral cove crane creek cricket crocus "
    "crow dawn deer delta dolphin dove dune eagle egret elk elm ember falcon fern field finch fjord flint "
    "forest fox gale gannet garden gecko geyser glacier glen grove gull harbor hare hawk hazel heath heron "
    "hill ibis iris island ivy jackal jaguar juniper kestrel lagoon lake lark laurel linden lotus lynx magpie "
    "maple marmot marten meadow mesa mole moor moss nectar newt oak oasis orchid osprey otter owl panda peak "
    "pebble pine plover pond poplar prairie quail rain"
)
ADJECTIVES: Final = tuple(_ADJECTIVES.split())
NOUNS: Final = tuple(_NOUNS.split())


def generate_name(choose: Callable[[Sequence[str]], str]) -> str:
    """As in `cover-antelope`, of words chosen by `choose`."""
    return f"{choose(ADJECTIVES)}-{choose(NOUNS)}"
