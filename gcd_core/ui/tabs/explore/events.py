"""The Explore tab: one image, a slider for each direction, and what changes along it."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.events import Dependency

from gcd_core.ui.frames import SLIDERS
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.tabs.explore.handlers import ExploreAnswers, ExploreHandlers
from gcd_core.ui.tabs.explore.layout import ExploreLayout
from gcd_core.ui.tabs.handler import IN_ONE_THREAD, preprocess_in_thread, report_errors

LIVE: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}


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
        self.answers = ExploreAnswers(visitors)

    def bind(self, page: gr.Blocks) -> None:
        """Connects the components, in the order in which the API lists the events."""
        self._bind_opening(page)
        self._bind_moving()
        self._bind_map()
        self._bind_report()
        self._bind_view_and_sweep()
        self.layout.region.bind()
        self._bind_numbers()

    def then_prepare(self, event: Dependency, name: str) -> None:
        """Lets the paths' pictures appear after an event that opened something."""
        event.success(
            report_errors(preprocess_in_thread(self.handlers.prepare, self.layout.display)),
            self.layout.display,
            [*self.layout.shown, *self.layout.ends, *self.layout.films],
            api_name="prepare" if name == "open_image" else f"prepare_after_{name}",
            api_visibility="public" if name == "open_image" else "private",
            **IN_ONE_THREAD,
            **LIVE,
        )

    def _bind_opening(self, page: gr.Blocks) -> None:
        layout, handlers = self.layout, self.handlers
        opened = gr.on(
            [layout.source.upload],
            report_errors(handlers.open_image),
            [layout.source, *layout.display],
            layout.everything,
            api_name="open_image",
            **LIVE,
        )
        self.then_prepare(opened, "open_image")
        opened.failure(lambda: None, None, layout.source, api_visibility="private", **LIVE)
        example = layout.examples.select(
            report_errors(handlers.open_example),
            [layout.examples, *layout.display],
            layout.everything,
            js="gcd.fade",
            api_name="open_example",
            trigger_mode="always_last",
            **LIVE,
        )
        self.then_prepare(example, "open_example")
        label = layout.label.input(
            report_errors(handlers.explain),
            [layout.label, *layout.display],
            layout.everything,
            js="gcd.fade",
            api_name="explain",
            trigger_mode="always_last",
            **LIVE,
        )
        self.then_prepare(label, "explain")
        bundled = layout.back.click(
            report_errors(handlers.use_bundled),
            layout.display,
            layout.everything,
            js="gcd.fade",
            api_name="use_bundled",
            **LIVE,
        )
        self.then_prepare(bundled, "use_bundled")
        self._bind_arrival(page)

    def _bind_arrival(self, page: gr.Blocks) -> None:
        layout, handlers = self.layout, self.handlers
        arrival = [*layout.display, layout.address]
        arrived = page.load(
            report_errors(handlers.arrive),
            arrival,
            layout.everything,
            js="gcd.withAddress",
            api_name="arrive",
            **LIVE,
        )
        self.then_prepare(arrived, "arrive")
        again = layout.revisit.click(
            report_errors(handlers.arrive),
            arrival,
            layout.everything,
            js="gcd.withAddress",
            api_visibility="private",
            trigger_mode="always_last",
            **LIVE,
        )
        self.then_prepare(again, "revisit")

    def _bind_moving(self) -> None:
        layout, handlers = self.layout, self.handlers
        position = [*layout.sliders, *layout.display]
        moved = layout.moved.click(  # by the page's script, once a slider moves
            report_errors(preprocess_in_thread(handlers.move, position)),
            position,
            layout.shown,
            api_name="move",
            trigger_mode="always_last",
            **IN_ONE_THREAD,
            **LIVE,
        )
        drawn = moved
        if self.service.domain.generator.live_solver is not None:
            drawn = moved.success(
                report_errors(preprocess_in_thread(handlers.draw_in_full, layout.display)),
                layout.display,
                layout.shown,
                api_name="draw_in_full",
                trigger_mode="always_last",
                **IN_ONE_THREAD,
                **LIVE,
            )
        self._then_follow(drawn)
        for name, flip in zip(SLIDERS, layout.flips, strict=True):
            flipped = flip.click(
                report_errors(handlers.to_flip),
                [layout.direction, *layout.display, layout.target],
                [*layout.shown, *layout.sliders],
                js=f"gcd.withFirst('{name}')",
                api_name="to_flip" if name == "g" else f"to_flip_{name}",
                api_visibility="public" if name == "g" else "private",
                **LIVE,
            )
            self._then_follow(flipped)
        layout.reset.click(
            report_errors(handlers.reset_all),
            layout.display,
            [*layout.shown, *layout.sliders],
            api_name="reset",
            **LIVE,
        )

    def _bind_map(self) -> None:
        layout = self.layout
        layout.overlay.input(
            report_errors(self.handlers.heatmap),
            layout.display,
            [layout.numbers, layout.pictures],
            api_name="heatmap",
            trigger_mode="always_last",
            **LIVE,
        )
        layout.opacity.input(
            report_errors(self.handlers.fade),
            layout.display,
            [layout.numbers, layout.pictures],
            api_visibility="private",
            trigger_mode="always_last",
            **LIVE,
        )

    def _then_follow(self, event: Dependency) -> None:
        """Lets what takes longer follow a move: a line along several directions, the cells."""
        event.success(
            report_errors(preprocess_in_thread(self.handlers.follow, self.layout.display)),
            self.layout.display,
            [self.layout.numbers, self.layout.pictures, self.layout.curve],
            api_visibility="private",
            trigger_mode="always_last",
            **IN_ONE_THREAD,
            **LIVE,
        )

    def _bind_report(self) -> None:
        layout = self.layout
        for file_format, button in (("pdf", layout.report_pdf), ("png", layout.report_png)):
            written = button.click(
                report_errors(self.answers.report),
                layout.file_format,
                [layout.numbers, layout.report_file],
                js=f"gcd.withFirst('{file_format}')",
                api_name="report" if file_format == "pdf" else "report_png",
                api_visibility="public" if file_format == "pdf" else "private",
                **LIVE,
            )
            written.success(None, None, None, js="gcd.download('#report-file')")
        written = layout.path_csv.click(
            report_errors(self.answers.save_path),
            None,
            [layout.numbers, layout.report_file],
            api_name="save_path",
            **LIVE,
        )
        written.success(None, None, None, js="gcd.download('#report-file')")

    def _bind_numbers(self) -> None:
        """What clients of the API ask who want the numbers alone."""
        gr.api(report_errors(self.answers.facts), api_name="facts")
        gr.api(report_errors(self.answers.go), api_name="go")

    def _bind_view_and_sweep(self) -> None:
        layout, handlers = self.layout, self.handlers
        layout.view.input(
            report_errors(handlers.change_view),
            layout.display,
            layout.pictures,
            api_name="view",
            **LIVE,
        )
        layout.sweep.click(None, None, None, js="gcd.sweep", api_visibility="private")
        written = layout.gif.click(
            report_errors(self.answers.make_sweep),
            None,
            [layout.numbers, layout.report_file],
            api_name="sweep",
            **LIVE,
        )
        written.success(None, None, None, js="gcd.download('#report-file')")
