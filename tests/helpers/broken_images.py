"""The broken image files of the campaign of faults, for tests."""

from tests.helpers.scripts import script_module

_program = script_module("broken_images")
PNG_START = _program.PNG_START
chunk = _program.chunk
mutated_images = _program.mutated_images
png_of_one_colour = _program.png_of_one_colour
whole_images = _program.whole_images
