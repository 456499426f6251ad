package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"time"

	"sekisho/internal/session/screen"
)

// Sizes of the picture in pixels.
const (
	cellWidth  = 8.4
	lineHeight = 19
	fontSize   = 14
	margin     = 16
)

const (
	background = "#16181d"
	foreground = "#d7dae0"
)

// palette is the color of the palette's first 16 entries.
var palette = [16]string{
	"#3b4048", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dae0",
	"#5c6370", "#ff7b86", "#b5e890", "#ffd68a", "#7cc4ff", "#dd92f0", "#6fd0dc", "#ffffff",
}

// A shot is one row of the screen that does not change from a moment to
// another.
type shot struct {
	from, to time.Duration
	cells    []screen.Cell
}

// render returns an animated SVG. The last frame is only the end of the film.
func render(frames []frame) []byte {
	length := frames[len(frames)-1].at
	width, height := columns*cellWidth+2*margin, float64(rows*lineHeight+2*margin)

	var body, style bytes.Buffer
	n := 0
	animate := func(from, to time.Duration) string {
		if from == 0 && to == length {
			return ""
		}
		n++
		a, b := 100*float64(from)/float64(length), 100*float64(to)/float64(length)
		fmt.Fprintf(&style, "@keyframes k%d{0%%{opacity:%d}", n, map[bool]int{true: 1}[from == 0])
		fmt.Fprintf(&style, "%.3f%%{opacity:1}%.3f%%{opacity:0}to{opacity:0}}#s%d{animation-name:k%d}\n", a, b, n, n)
		return fmt.Sprintf(` id="s%d" class="a"`, n)
	}

	for y := range rows {
		for _, s := range shots(frames, y) {
			if text := spans(s.cells); text != "" {
				fmt.Fprintf(&body, "<text%s y=\"%d\">%s</text>\n", animate(s.from, s.to), y*lineHeight+fontSize, text)
			}
		}
	}
	for i := 0; i < len(frames)-1; i++ {
		f, to := frames[i], frames[i+1].at
		if f.at == to {
			continue
		}
		fmt.Fprintf(&body, "<rect%s x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\" fill-opacity=\".6\"/>\n",
			animate(f.at, to), float64(f.x)*cellWidth, f.y*lineHeight, cellWidth, lineHeight-2, foreground)
	}

	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f"
 role="img">
<title>List nodes, open a shell, run a command, ask why a user is denied, search the recordings</title>
<style>
text{font:%dpx ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:%s;white-space:pre}
.a{animation-duration:%.2fs;animation-iteration-count:infinite;animation-timing-function:step-end}
%s</style>
<rect width="100%%" height="100%%" rx="8" fill="%s"/>
<g transform="translate(%d %d)">
%s</g></svg>
`,
		width, height, width, height,
		fontSize, foreground, length.Seconds(), style.String(),
		background, margin, margin, body.String())
	return out.Bytes()
}

// shots returns what row y shows, one after the other.
func shots(frames []frame, y int) []shot {
	var all []shot
	for i := 0; i < len(frames)-1; i++ {
		from, to, cells := frames[i].at, frames[i+1].at, frames[i].lines[y]
		if from == to {
			continue
		}
		if last := len(all) - 1; last >= 0 && slices.Equal(all[last].cells, cells) {
			all[last].to = to
			continue
		}
		all = append(all, shot{from, to, cells})
	}
	return all
}

// spans returns the text of a row as SVG, "" for a blank one.
func spans(cells []screen.Cell) string {
	end := len(cells)
	for end > 0 && (cells[end-1].Rune == 0 || cells[end-1].Rune == ' ') {
		end--
	}
	var out bytes.Buffer
	for i := 0; i < end; {
		j := i
		var text []rune
		for ; j < end && cells[j].Style == cells[i].Style; j++ {
			switch r := cells[j].Rune; r {
			case -1: // the right half of a wide character
			case 0:
				text = append(text, ' ')
			default:
				text = append(text, r)
			}
		}
		fmt.Fprintf(&out, `<tspan x="%.1f"%s>`, float64(i)*cellWidth, look(cells[i].Style))
		xml.EscapeText(&out, []byte(string(text))) //nolint:errcheck // a buffer takes everything
		out.WriteString("</tspan>")
		i = j
	}
	return out.String()
}

func look(s screen.Style) string {
	var out string
	if s.FG >= 1 && s.FG <= 16 {
		out += fmt.Sprintf(` fill=%q`, palette[s.FG-1])
	}
	if s.Attr&screen.Bold != 0 {
		out += ` font-weight="bold"`
	}
	if s.Attr&screen.Faint != 0 {
		out += ` fill-opacity=".7"`
	}
	return out
}
