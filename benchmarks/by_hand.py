"""Pairs that no generator has made, to measure with: family, two prompts; of the family ``=`` they ask for the same picture."""

from __future__ import annotations

_BY_HAND = """
order|the dog chases the cat across the yard|the cat chases the dog across the yard
order|a boy carries a girl on his back|a girl carries a boy on her back
order|the horse is pulled by the man|the man is pulled by the horse
order|a teacher listens while the student speaks|a student listens while the teacher speaks
order|the old man kisses the young woman|the young woman kisses the old man
order|a bird eats a snake|a snake eats a bird
order|the truck is following the motorcycle down the hill|the motorcycle is following the truck down the hill
order|a fireman rescues a cat from a tree while a boy watches|a boy rescues a cat from a tree while a fireman watches
order|there is more milk than coffee in the cup|there is more coffee than milk in the cup
order|the car is on the left of the bus and faces it|the bus is on the left of the car and faces it
order|a painting of a tree inside a house|a painting of a house inside a tree
order|a lamp stands on a table under a shelf|a table stands on a lamp under a shelf
order|a mouse hides behind a cheese|a cheese hides behind a mouse
order|the sailor waves at the captain from the pier|the captain waves at the sailor from the pier
order|the flowers are in the vase and the vase is on the book|the vase is in the flowers and the book is on the vase
order|the sun sets behind the mountain while the moon rises over the sea|the moon sets behind the mountain while the sun rises over the sea
order|the mug is full and the glass is empty|the glass is full and the mug is empty
order|the woman stands while the man sits on the bench|the man stands while the woman sits on the bench
order|the child throws the ball to the dog|the dog throws the ball to the child
order|the tall building casts a shadow on the small church|the small church casts a shadow on the tall building
order|smoke rises from the house next to the factory|smoke rises from the factory next to the house
binding|a girl in a red dress with a blue bag|a girl in a blue dress with a red bag
binding|a square window in a round door|a round window in a square door
binding|the left door is open and the right door is closed|the left door is closed and the right door is open
binding|a fluffy dog with a smooth ball|a smooth dog with a fluffy ball
binding|a young man beside an old car|an old man beside a young car
binding|a long table with short legs|a short table with long legs
binding|two apples and three pears|three apples and two pears
binding|a wooden spoon in a metal bowl|a metal spoon in a wooden bowl
binding|a bright star over a dark city|a dark star over a bright city
relation|a plane above the clouds|a plane below the clouds
relation|people walking towards the stadium|people walking away from the stadium
relation|a cat inside a box|a cat outside a box
relation|a man getting on the bus|a man getting off the bus
relation|a ladder leaning against a wall|a ladder lying by a wall
relation|a boat going under the bridge|a boat going past the bridge
attribute|a bald man reading|a bearded man reading
attribute|an unlit candle on a cake|a lit candle on a cake
attribute|a half eaten apple|an apple
attribute|a house with a flat roof|a house with a steep roof
object|a lion resting in the grass|a tiger resting in the grass
object|a cup of tea on a saucer|a cup of coffee on a saucer
object|a violin leaning on a chair|a cello leaning on a chair
object|an astronaut, sharp focus, 8k, by greg rutkowski and artgerm|a diver, sharp focus, 8k, by greg rutkowski and artgerm
object|a castle on a cliff, matte painting, artstation, octane render|a village on a cliff, matte painting, artstation, octane render
added|a dog on a beach|a dog on a beach with a frisbee
added|a cup on a table|a chipped cup on a table
added|a street with cars|a flooded street with cars
style|a lighthouse, by claude monet|a lighthouse, by edvard munch
style|a lighthouse at night, watercolor|a lighthouse at night, oil on canvas
count|a single rose in a bottle|a bunch of roses in a bottle
count|a few birds on a wire|many birds on a wire
negation|a street with people|a street without people
negation|a man wearing a hat|a man not wearing a hat
quoted|a neon sign that says "open late"|a neon sign that says "open soon"
scene|a bridge in the morning|a bridge in the evening
action|a cat is about to jump off a wall|a cat has jumped off a wall
=|a cat sitting on a mat|on a mat sits a cat
=|a small boat near a big rock|near a big rock there is a small boat
=|a man who is riding a horse on the beach|a man riding a horse on the beach
=|a horse is being ridden by a man|a man is riding a horse
=|the dog lies under the table|the dog is lying under the table
=|a vase of flowers next to a window|next to a window is a vase of flowers
=|a bowl to the left of a plate|a plate to the right of a bowl
=|a lamp behind a sofa|a sofa in front of a lamp
=|a woman with a red umbrella|a woman who has a red umbrella
=|two children are playing in the snow|there are two children playing in the snow
=|a clock tower that is very tall stands in the square|in the square stands a very tall clock tower
=|a person standing near a couch|a person stands beside a sofa
=|in the kitchen, a cook is cutting vegetables|a cook is cutting vegetables in the kitchen
=|a large elephant drinking water|a big elephant that is drinking water
=|a bench made of wood in a park|a wooden bench in a park
"""
HAND_WRITTEN = [
    ("in other words" if family == "=" else family, asked, known, family == "=")
    for family, asked, known in (line.split("|") for line in _BY_HAND.strip().splitlines())
]
"""Pairs that no generator has made: family, two prompts, whether they ask for the same picture."""
