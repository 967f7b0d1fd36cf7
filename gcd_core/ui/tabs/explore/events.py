"""The Explore tab: one image, a slider for each direction, and what changes along it."""

from __future__ import annotations

from functools import partial

import gradio as gr
from gradio.events import Dependency

from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.tabs.explore.after_moves import AfterMoves
from gcd_core.ui.tabs.explore.another import AnotherWay
from gcd_core.ui.tabs.explore.handlers import ExploreAnswers, ExploreHandlers
from gcd_core.ui.tabs.explore.layout import ExploreLayout, choices_of
from gcd_core.ui.tabs.handler import LIVE, connect, connect_downloads, report_errors

LANDS_ELSEWHERE = ("arrive", "revisit", "open_piece")  # may open a picture with sliders moved


class ExploreTab:
    """The tab's components, its handlers, and the events that connect them.

    Every event has a name that clients of the page's API may rely on.

    Parameters
    ----------
    visitors : Visitors
    """

    def __init__(self, visitors: Visitors) -> None:
        self.service = visitors.service
        self.layout = ExploreLayout(visitors)
        self.handlers = ExploreHandlers(visitors, self.layout)
        self.answers = ExploreAnswers(visitors, self.layout)
        self.after_moves = AfterMoves(visitors, self.layout)
        self.another = AnotherWay(visitors, self.layout)
        self.arrived: Dependency  # the event in which a page comes, or comes back

    def bind(self, page: gr.Blocks) -> None:
        """Connects the components, in the order in which the API lists the events."""
        self._bind_opening(page)
        self._bind_moving()
        self._bind_map()
        self._bind_report()
        self._bind_view_and_sweep()
        self.layout.region.bind()
        gr.api(report_errors(self.answers.facts), api_name="facts")
        gr.api(report_errors(self.answers.go), api_name="go")
        layout = self.layout
        connect(
            layout.pictures_missing.click, self.handlers.send_pictures, None, layout.pictures
        )  # by the page's script

    def then_prepare(self, event: Dependency, name: str) -> None:
        """Lets the paths' pictures appear after an event that opened something.

        The preparation of the image before may still be under way: it ends by itself.
        """
        layout = self.layout
        event.failure(None, None, None, js="gcd.ended", api_visibility="private")
        connect(
            event.success,
            self.handlers.prepare,
            layout.display,
            [*layout.shown, *layout.ends, *layout.films],
            "prepare" if name == "open_image" else f"prepare_after_{name}",
            public=name == "open_image",
            together=True,
            in_one_thread=True,
            js=f"gcd.openedBy('{name}')",
        )
        if name in LANDS_ELSEWHERE:
            self._then_follow(self._then_draw(event, f"draw_after_{name}"))

    def _bind_opening(self, page: gr.Blocks) -> None:
        layout, handlers, everything = self.layout, self.handlers, self.layout.everything
        opened = connect(
            partial(gr.on, [layout.source.upload]),
            handlers.open_image,
            [layout.source, *layout.display],
            everything,
            "open_image",
            js="gcd.fade",
        )
        self.then_prepare(opened, "open_image")
        opened.failure(lambda: None, None, layout.source, api_visibility="private", **LIVE)
        example = connect(
            layout.examples.select,
            handlers.open_example,
            [layout.examples, *layout.display],
            everything,
            "open_example",
            newest_only=True,
            js="gcd.openExample",
        )
        self.then_prepare(example, "open_example")
        label = connect(
            layout.label.input,
            handlers.explain,
            [layout.label, *layout.display],
            everything,
            "explain",
            newest_only=True,
            js="gcd.fade",
        )
        self.then_prepare(label, "explain")
        bundled = connect(
            layout.back.click,
            handlers.use_bundled,
            layout.display,
            everything,
            "use_bundled",
            js="gcd.fade",
        )
        self.then_prepare(bundled, "use_bundled")
        arrival, landed = [*layout.display, layout.address], [*everything, *choices_of(layout)]
        self.arrived = arrived = connect(
            page.load, handlers.arrive, arrival, landed, "arrive", js="gcd.withAddress"
        )
        self.then_prepare(arrived, "arrive")
        again = connect(
            layout.revisit.click,
            handlers.arrive,
            arrival,
            landed,
            newest_only=True,
            js="gcd.withAddress",
        )
        self.then_prepare(again, "revisit")

    def _bind_moving(self) -> None:
        layout, handlers = self.layout, self.handlers
        drawn = connect(  # by the page's script, once a slider rests
            layout.moved.click,
            handlers.move,
            [*layout.sliders, *layout.display],
            layout.shown,
            "move",
            newest_only=True,
            in_one_thread=True,
        )
        self._then_follow(self._then_draw(drawn, "draw_in_full", public=True))
        for row in layout.rows:
            flipped = connect(
                row.flip.click,
                handlers.to_flip,
                [layout.direction, *layout.display, layout.target],
                [*layout.shown, *layout.sliders],
                "to_flip" if row.name == "g" else f"to_flip_{row.name}",
                public=row.name == "g",
                js=f"gcd.flip('{row.name}')",
            )
            self._then_end(flipped)
            self._then_follow(flipped, in_any_case=True)
        other = connect(
            layout.another.click,
            self.another.another_way,
            [layout.region.mask, *layout.display, layout.target],
            [*layout.shown, *layout.sliders, layout.region.cards],
            "another_way",
            js="gcd.withAvoided",
        )
        self._then_end(other)
        self._then_follow(other, in_any_case=True)
        connect(
            layout.reset.click,
            handlers.reset_all,
            layout.display,
            [*layout.shown, *layout.sliders],
            "reset",
        )

    def _then_end(self, event: Dependency) -> None:
        """Lets the words of a flip that is looked for end, also where none is found."""
        for ends in (event.success, event.failure):
            ends(None, None, None, js="gcd.flipEnds", api_visibility="private")

    def _then_draw(self, event: Dependency, name: str, public: bool = False) -> Dependency:
        """Lets the full drawing follow a quick one, where there are two decoders."""
        if self.service.domain.generator.live_solver is None:
            return event
        return connect(
            event.success,
            self.handlers.draw_in_full,
            self.layout.display,
            self.layout.shown,
            name,
            public=public,
            newest_only=True,
            in_one_thread=True,
        )

    def _then_follow(self, event: Dependency, in_any_case: bool = False) -> None:
        """Lets what takes longer follow a move, the quickest first.

        That is the answer with the tone kept, a line along several directions, the cells. A search
        that fails has ended what was being asked for the picture, which stays: so `in_any_case`.
        """
        layout = self.layout
        for ended in (event.success, event.failure) if in_any_case else (event.success,):
            asked = connect(
                ended,
                self.after_moves.keep_tone,
                layout.display,
                layout.shown,
                newest_only=True,
                in_one_thread=True,
            )
            followed = connect(
                asked.success,
                self.after_moves.follow,
                layout.display,
                [layout.numbers, layout.pictures, layout.curve],
                newest_only=True,
                in_one_thread=True,
            )
            connect(
                followed.success,
                self.after_moves.follow_in_full,
                layout.display,
                layout.curve,
                newest_only=True,
                in_one_thread=True,
            )

    def _bind_map(self) -> None:
        layout, handlers = self.layout, self.handlers
        inputs, outputs = layout.display, [layout.numbers, layout.pictures]
        connect(
            layout.overlay.input, handlers.heatmap, inputs, outputs, "heatmap", newest_only=True
        )
        connect(layout.opacity.input, handlers.fade, inputs, outputs, newest_only=True)

    def _bind_report(self) -> None:
        layout, answers = self.layout, self.answers
        file = [layout.numbers, layout.report_file]
        reports = {"pdf": layout.report_pdf, "png": layout.report_png}
        written = [layout.file_format, layout.words]
        connect_downloads(reports, answers.report, written, file, "report", "report")
        connect_downloads({"csv": layout.path_csv}, answers.save_path, None, file, "save_path")

    def _bind_view_and_sweep(self) -> None:
        layout = self.layout
        connect(
            layout.view.input, self.handlers.change_view, layout.display, layout.pictures, "view"
        )
        for detail, button in layout.drawings.items():
            connect(  # by the page's script
                button.click,
                self.handlers.change_drawing,
                layout.detail,
                layout.shown,
                newest_only=True,
                js=f"gcd.withFirst('{detail}')",
            )
        layout.sweep.click(None, None, None, js="gcd.sweep", api_visibility="private")
        file = [layout.numbers, layout.report_file]
        sweep, given = self.answers.make_sweep, [layout.sweep_format, layout.words]
        connect_downloads({"gif": layout.gif}, sweep, given, file, "sweep", "sweep")
