"""The report in Chromium: no errors, no network, and everything that can be clicked does what it says."""

import re
from dataclasses import replace

import pytest
from written_runs import GPT, curves, write_run, write_sweep

import twoclocks as tc

pytestmark = pytest.mark.browser

MISSING = "\u2013"  # the page's dash
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "runs"
    write_sweep(folder, rules=("parity:6x6,G=2", "parity:6x6,G=3", "parity:6x6,G=12"), seeds=8)
    write_run(folder / "going", replace(GPT, seed=17), status="unfinished", rows=curves(GPT, 100.0, 600.0)[:9])
    write_run(folder / "begun", replace(GPT, seed=18), status="unfinished", rows=[])
    return tc.write_report(folder)


@pytest.fixture
def opened(chromium, report, request):
    """A page that must show no error and ask for nothing but itself."""
    name, scheme = getattr(request, "param", ("desktop", "light"))
    width, height = SIZES[name]
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=name == "phone", offline=True
    )
    page = context.new_page()
    faults, requests = [], []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: requests.append(asked.url))
    page.goto(report.as_uri())
    yield page
    page.wait_for_timeout(50)
    context.close()
    assert faults == []
    assert requests == [report.as_uri()]


def rows(page):
    return page.locator("#clocks tbody tr")


def column(page, label):
    heads = page.locator("#clocks thead th").all_inner_texts()
    at = [head.split("\n")[0] for head in heads].index(label)
    return [row.split("\t")[at].strip() for row in rows(page).all_inner_texts()]


def test_typing_filters_the_runs(opened):
    assert rows(opened).count() == 50
    assert opened.inner_text("#count") == "74 runs"
    opened.fill("#words", "g=3 n=256 seed=1")
    assert rows(opened).count() == 1  # not seed 17
    assert opened.inner_text("#count") == "1 of 74 runs"
    opened.fill("#words", "nothing like it")
    assert opened.inner_text("#clocks tbody") == "No run matches."
    opened.click("text=Clear")
    opened.wait_for_function("document.querySelectorAll('#clocks tbody tr').length === 50")


def test_choosing_and_sorting(opened):
    opened.select_option("select[name=Rule]", label="parity:6x6,G=3")
    opened.select_option("select[name=N]", label="1,024")
    assert set(column(opened, "Rule")) == {"parity:6x6,G=3"}
    assert set(column(opened, "N")) == {"1,024"}
    assert rows(opened).count() == 8
    opened.select_option("select[name=N]", label="all")
    head = opened.locator("#clocks thead th", has_text="mem").locator("button")
    head.click()
    assert opened.locator("th[aria-sort=ascending]").count() == 1

    def ends():
        return [
            int(re.split(f"{MISSING}|≤ ", text)[-1].replace(",", ""))
            for text in column(opened, "τmem")
            if text != MISSING
        ]

    assert ends() == sorted(ends())
    assert column(opened, "τmem")[-2:] == [MISSING, MISSING]  # unfinished runs come last
    head.click()
    assert ends() == sorted(ends(), reverse=True)
    assert column(opened, "τmem")[-2:] == [MISSING, MISSING]


def test_pages_of_rows(opened):
    opened.click("text=Next")
    assert rows(opened).count() == 24
    assert "Rows 51 to 74 of 74" in opened.inner_text("#pages")
    opened.click("text=Previous")
    assert rows(opened).count() == 50


def test_clicking_a_run_shows_its_curve(opened):
    opened.fill("#words", "g=12 n=64 seed=3")
    rows(opened).first.click()
    detail = opened.locator("#detail")
    assert "parity:6x6,G=12, N = 64, seed 3" in detail.inner_text()
    clocks = {name: column(opened, name)[0] for name in ("τrule", "τmem")}
    for clock in clocks.values():
        assert f"{clock} steps" in detail.inner_text()
    chart = detail.locator("svg[role=img]")
    for name in ("rule", "memorization"):
        d = chart.locator(f"path.{name}.line").get_attribute("d")
        assert d.count("L") == len(curves(GPT, 1.0, 1.0)) - 1  # every evaluation
        assert "NaN" not in d
        assert chart.locator(f"path.{name}.band").first.get_attribute("d").endswith("Z")
    box = chart.bounding_box()
    opened.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 60)
    assert re.search(r"Step [\d,]+: rule accuracy [\d.]+% \[[\d.]+%, [\d.]+%\]", detail.inner_text())
    chart.focus()
    opened.keyboard.press("Home")
    assert "Step 10:" in detail.inner_text()
    opened.keyboard.press("ArrowRight")
    assert "Step 12:" in detail.inner_text()
    detail.locator("summary", has_text="All settings").click()
    assert "batch_size" in detail.inner_text()


def test_pointing_previews_and_leaving_returns(opened):
    rows(opened).nth(2).click()
    kept = opened.inner_text("#detail h3")
    rows(opened).nth(5).hover()
    assert opened.inner_text("#detail h3") != kept
    opened.mouse.move(5, 5)
    assert opened.inner_text("#detail h3") == kept


def test_keyboard_alone_reaches_a_run(opened):
    opened.fill("#words", "seed=17")
    rows(opened).first.locator("button").focus()
    opened.keyboard.press("Enter")
    assert "unfinished" in opened.inner_text("#detail")
    opened.fill("#words", "seed=18")
    rows(opened).first.locator("button").focus()
    opened.keyboard.press("Enter")
    assert "No evaluation yet" in opened.inner_text("#detail")


@pytest.mark.parametrize("opened", [("phone", "light")], indirect=True)
def test_on_a_phone_the_keys_go_into_the_sheet_and_back(opened):
    rows(opened).nth(2).locator("button").focus()
    opened.keyboard.press("Enter")
    assert opened.evaluate("document.activeElement.className") == "close"
    opened.keyboard.press("Tab")
    opened.keyboard.press("ArrowRight")
    assert "rule accuracy" in opened.locator("#detail .readout").inner_text()
    opened.keyboard.press("Escape")
    assert not opened.locator("#detail").is_visible()
    assert opened.evaluate("document.activeElement.closest('tr').dataset.run") == rows(opened).nth(2).get_attribute(
        "data-run"
    )


@pytest.mark.parametrize("opened", [("phone", "light")], indirect=True)
def test_on_a_phone_the_answer_shows_the_clocks_without_scrolling(opened):
    head = opened.locator("#answer th", has_text="mem").bounding_box()
    assert head["x"] + head["width"] <= 390


def test_clicking_a_point_of_a_scaling_figure_shows_its_run(opened):
    figure = opened.locator("figure[data-figure]").first
    chart = figure.locator("svg[role=img]")
    spot = chart.locator("path.own.mark").first.bounding_box()
    chart.scroll_into_view_if_needed()
    spot = chart.locator("path.own.mark").first.bounding_box()
    opened.mouse.move(spot["x"] + 3, spot["y"] + spot["height"] - 3)
    said = figure.locator(".pointed").inner_text()
    assert said.startswith("gpt-nano, parity:6x6,G=2, N = 64")
    opened.mouse.click(spot["x"] + 3, spot["y"] + spot["height"] - 3)
    assert opened.inner_text("#detail h3") == said.split(": τ")[0]


@pytest.mark.parametrize("opened", [("phone", "light"), ("phone", "dark")], indirect=True)
def test_on_a_phone_the_page_does_not_scroll_sideways(opened):
    assert opened.evaluate("document.documentElement.scrollWidth") == 390
    assert not opened.locator("#detail").is_visible()
    rows(opened).nth(3).locator("button").tap()
    assert opened.locator("#detail").is_visible()
    box = opened.locator("#detail svg[role=img]").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    opened.locator("#detail .close").tap()
    assert not opened.locator("#detail").is_visible()


def test_printing_opens_what_is_folded(opened):
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("main > section details:not([open])").count() == opened.locator("#detail details").count()
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator("#scaling details[open]").count() == 0


def contrast(page, selector):
    """WCAG contrast of an element's text with the page."""
    read = """(e) => {
      const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
      const rgb = (colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
      const style = getComputedStyle(e);
      const behind = e.closest('aside') || document.body;
      return [rgb(e.closest('svg') ? style.fill : style.color), rgb(getComputedStyle(behind).backgroundColor)];
    }"""
    both = page.locator(selector).first.evaluate(read)

    def luminance(rgb):
        linear = [v / 3294.6 if v <= 10.31 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted(map(luminance, both), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("opened", [("desktop", "light"), ("desktop", "dark")], indirect=True)
def test_text_stands_out_in_light_and_dark(opened):
    for selector in ("h1", ".note", "dt", "th", "#detail text.rule-text", "#detail text.memorization-text", "svg text"):
        assert contrast(opened, selector) > 4.5, selector


def test_hostile_names_are_text(chromium, tmp_path):
    evil = "<img src=x onerror=document.title='taken'></script><script>document.title='taken'</script>"
    for seed in range(2):
        for n in (64, 256):
            config = replace(GPT, rule=evil, device=evil, seed=seed, n_train=n)
            write_run(tmp_path / "runs" / f"<b>{seed}-{n}", config, rows=curves(config, 90.0, 4.0 * n))
    report = tc.write_report(tmp_path / "runs")
    page = chromium.new_page()
    faults, requests = [], []
    page.on("console", lambda message: faults.append(message.text))
    page.on("request", lambda asked: requests.append(asked.url))
    page.goto(report.as_uri())
    rows(page).first.click()
    page.locator("#detail summary", has_text="All settings").click()
    assert page.title() == "Two clocks: runs"
    assert evil in page.inner_text("#detail")
    assert page.locator("img").count() == 0
    page.close()
    assert faults == []
    assert requests == [report.as_uri()]
