"""The heavy wing: everything that holds a model.

``scoring`` is the one forward pass behind objectives and Conductor, ``maestro`` the subclass of
TRL's GRPOTrainer, ``offline`` learns from logged rows. Shapes follow the legend in ``types``.
"""
