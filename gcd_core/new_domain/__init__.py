"""One command makes a domain of people's images and classifier (`new-domain`).

`data` reads the images, `classifier` the classifier, `questions` what is asked of it. `plan` says
what is done when, `work` does it and goes on after a kill, `steps` are what it does, `domain_file`
and `card` write what a person reads, `verdict` says how good it became.
"""
