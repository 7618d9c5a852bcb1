"""What Ray has no public name for and Salus uses; moving to another version of Ray begins here.

`state` says what an autoscaler may grow to, and `_raylet` reads the authentication token again. What imports vLLM is
beside the endpoint's replica.
"""

from ray import _raylet as _raylet
from ray._private.state import state as state
