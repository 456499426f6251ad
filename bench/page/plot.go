package page

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Bar is one bar of a plot, with a mark at the target value.
type Bar struct {
	Label  string
	Value  float64
	Target float64 // 0 for none
	Text   string  // after the bar
}

// Sizes of a plot, in pixels.
const (
	plotWidth  = 860
	labelWidth = 300
	textWidth  = 130
	rowHeight  = 24
	barHeight  = 14
	topHeight  = 40
	scaleRoom  = 24
)

// Plot draws horizontal bars as an SVG image, for light and dark pages.
func Plot(title string, bars []Bar) string {
	most := 0.0
	for _, b := range bars {
		most = max(most, b.Value, b.Target)
	}
	step := niceStep(most)
	most = max(math.Ceil(most/step), 1) * step
	width := float64(plotWidth - labelWidth - textWidth)
	x := func(v float64) float64 { return labelWidth + v/most*width }
	height := topHeight + len(bars)*rowHeight + scaleRoom
	var w strings.Builder
	fmt.Fprintf(&w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 14px }
.grid { stroke: #d1d9e0 }
.bar { fill: #2f6feb }
.target { stroke: #bc4c00; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .grid { stroke: #3d444d } .bar { fill: #58a6ff } .target { stroke: #f0883e }
}
</style>
<text class="title" x="8" y="22">%s</text>
`, plotWidth, height, html.EscapeString(title), html.EscapeString(title))
	bottom := topHeight + len(bars)*rowHeight
	for v := 0.0; v <= most+step/2; v += step {
		fmt.Fprintf(&w, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", x(v), topHeight-4, x(v), bottom)
		fmt.Fprintf(&w, `<text x="%.1f" y="%d" text-anchor="middle">%.4g</text>`+"\n", x(v), bottom+16, v)
	}
	for i, b := range bars {
		top := topHeight + i*rowHeight + (rowHeight-barHeight)/2
		fmt.Fprintf(&w, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labelWidth-8, top+barHeight-3,
			html.EscapeString(b.Label))
		fmt.Fprintf(&w, `<rect class="bar" x="%d" y="%d" width="%.1f" height="%d"/>`+"\n", labelWidth, top,
			x(b.Value)-labelWidth, barHeight)
		if b.Target > 0 {
			fmt.Fprintf(&w, `<line class="target" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", x(b.Target), top-3, x(b.Target),
				top+barHeight+3)
		}
		fmt.Fprintf(&w, `<text x="%.1f" y="%d">%s</text>`+"\n", x(max(b.Value, b.Target))+6, top+barHeight-3,
			html.EscapeString(b.Text))
	}
	w.WriteString("</svg>\n")
	return w.String()
}

// niceStep returns the distance of the lines of a scale up to most.
func niceStep(most float64) float64 {
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range []float64{0.1, 0.2, 0.25, 0.5, 1} {
		if most/(f*power) <= 8 {
			return f * power
		}
	}
	return 2 * power
}
