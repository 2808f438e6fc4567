"""The methods benchmark: every weighting on the same prompts, budget and seeds.

``methods`` says what is compared, ``cells`` which runs that takes, ``runner`` runs them in child
processes and picks up where an interrupt left off, ``bandit`` is the tier where the true weights
are known, ``statistics`` the estimators, ``report`` and ``charts`` the tables and figures, ``cost``
and ``paced`` the paired timings, ``cli`` the command line.
"""
