"""The questions to optimizer states that users and trainings ask; ``core.states`` explains them."""

from jaxopt_course.core import states


evaluation_params = states.evaluation_params
lookahead_params = states.lookahead_params
loss_scale = states.loss_scale
packed_params = states.packed_params
packed_state = states.packed_state
unpack = states.unpack
