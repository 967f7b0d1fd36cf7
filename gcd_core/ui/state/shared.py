"""What the explorers of all domains share, so that the page's limits hold for them together."""

from __future__ import annotations

from pathlib import Path as FilePath

from gcd_core.distributed.remote import SearchesElsewhere
from gcd_core.domains.opening import Domain
from gcd_core.images.isolated import IsolatedReader
from gcd_core.method.directions import DirectionSet
from gcd_core.ui.state.ahead import Ahead
from gcd_core.ui.state.compute import Compute
from gcd_core.ui.state.limits import Limits
from gcd_core.ui.state.paths import KeptPaths
from gcd_core.ui.state.searches import Find, RunningSearch, Searches
from gcd_core.ui.state.stored import Stored
from gcd_core.ui.state.turns import PathTurns

QUIET = 0.4  # seconds without a move that make a pause
EXAMPLE_PATH_BYTES_KEPT = 2**29


class Shared:
    """The threads that compute, whatever the domain, and what they keep.

    Parameters
    ----------
    limits : Limits, optional
    stored : Stored, optional
        Where what was decoded of the examples is kept on disk; by default it is not.

    Attributes
    ----------
    limits : Limits
    compute : Compute
        Where the networks run.
    ahead : Ahead
        What may be asked for next.
    searches : Searches
    path_turns : PathTurns
        Who decodes a path has the turn.
    example_paths : KeptPaths
        Of the examples of all domains.
    last_asked : float
        When a visitor last asked for something, by the monotonic clock.
    folder : pathlib.Path or None
        Where visitors' files to take home lie; None is the system's place for temporary ones.
    reader : IsolatedReader
        Of the files that visitors bring.
    elsewhere : SearchesElsewhere or None
        The cluster that makes the searches, where `GCD_RAY_ADDRESS` names one; but for those of a
        classifier with a budget, which is counted here.
    """

    def __init__(self, limits: Limits | None = None, stored: Stored | None = None) -> None:
        self.limits, self.stored = limits or Limits(), stored
        self.elsewhere = SearchesElsewhere.from_environment()
        self.folder: FilePath | None = None
        self.last_asked = float("-inf")
        self.reader = IsolatedReader()
        self.compute = Compute(QUIET)
        self.ahead = Ahead()
        self.searches = Searches(self.limits.searches, self.limits.searches_waiting)
        self.path_turns = PathTurns()
        self.example_paths = KeptPaths(EXAMPLE_PATH_BYTES_KEPT)

    def finder(self, domain: Domain) -> Find | None:
        """What has the cluster search an image of a domain; None where searches are made here."""
        elsewhere, folder = self.elsewhere, str(domain.folder)
        if elsewhere is None or domain.classifier.budget is not None:
            return None

        def find(search: RunningSearch) -> DirectionSet:
            search.state = "running"
            task = folder, search.image, search.label, search.settings
            return elsewhere.find(*task, search.note, search.cancel, search.samples)

        return find

    def close(self) -> None:
        """End the work in the background, and wait until none is left."""
        self.searches.close()
        self.ahead.close()
        self.compute.close()
        self.reader.close()
