"""The words of the field, which no text in plain words may have."""

import re

FIELDS_WORDS = re.compile(
    r"\b(hessian|z_sem|z_t|g|[hw]\d+|g-directions?|h-directions?|bb-lig|lig|alphas?|lpips|prox(y|ies)"
    r"|logits?|log-odds|bridges?|rcsb|n-ball|ball|eigenv\w+|lambda|ddim|latents?|semantic|gradients?"
    r"|shapley|cosines?|auroc|epochs?|encod\w+|decod\w+|antithetic|counterfactuals?|oracles?"
    r"|perceptual|queries|query|vectors?|orthogonal|curvature|black.?box|white.?box|adversarial"
    r"|quartiles?|globality|solver|distilled|schr.edinger)\b|[\u03b1\u03bb]",
    re.IGNORECASE,
)
