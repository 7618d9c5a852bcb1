"""An alignment: the cycles of a run and their six steps, from the deployed policy to the published champion."""
