package export

import (
	"crypto/sha256"
	_ "embed" // the parts of the page
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"time"

	"sekisho/internal/safetext"
	"sekisho/internal/session/cast"
	"sekisho/internal/session/screen"
)

//go:embed player.js
var playerJS string

//go:embed player.css
var playerCSS string

const (
	// frameEvery is the minimum time between two frames.
	frameEvery = 50 * time.Millisecond
	// wholeEvery is how often a frame holds the whole screen, which allows the player to seek.
	wholeEvery = 100
	// maxPage limits the frames of one page, in bytes.
	maxPage = 64 << 20
)

// frame is the screen at one point in time, or the changes since the previous frame.
type frame struct {
	Time  int64         `json:"t"` // ms
	Whole bool          `json:"k,omitempty"`
	Cols  int           `json:"c,omitempty"` // in a whole frame
	Rows  int           `json:"r,omitempty"`
	Lines map[int][]any `json:"l,omitempty"` // rows that changed: runs of [text, foreground, background, attributes]
	// Cursor is the position of the cursor; nil if it is hidden.
	Cursor *[2]int `json:"u,omitempty"`
	Label  string  `json:"m,omitempty"` // a marker
}

// page makes the frames of a recording.
type page struct {
	w      io.Writer
	screen *screen.Screen
	rows   []string // as last written
	frames int
	size   int
	whole  bool // the next frame has the whole screen
}

func (p *page) write(f frame) error {
	b, err := json.Marshal(f) // escapes <, > and &
	if err != nil {
		return err
	}
	if p.size += len(b) + 2; p.size > maxPage {
		return fmt.Errorf(
			"the recording is too long for a page of %d MiB: export it as %s or %s",
			maxPage>>20,
			Cast,
			Text,
		)
	}
	sep := ""
	if p.frames > 0 {
		sep = ",\n"
	}
	p.frames++
	_, err = fmt.Fprintf(p.w, "%s%s", sep, b)
	return err
}

// frame writes what changed since the last one.
func (p *page) frame(at time.Duration) error {
	cols, rows := p.screen.Size()
	f := frame{Time: at.Milliseconds(), Lines: make(map[int][]any)}
	if p.whole || p.frames%wholeEvery == 0 || len(p.rows) != rows {
		f.Whole, f.Cols, f.Rows = true, cols, rows
		p.rows, p.whole = make([]string, rows), false
	}
	for y := range rows {
		runs := runsOf(p.screen.Row(y))
		key := fmt.Sprint(runs)
		if key == p.rows[y] || f.Whole && len(runs) == 0 {
			continue
		}
		p.rows[y] = key
		f.Lines[y] = runs
	}
	if x, y, ok := p.screen.Cursor(); ok {
		f.Cursor = &[2]int{x, y}
	}
	return p.write(f)
}

// runsOf groups cells of the same style.
func runsOf(cells []screen.Cell) []any {
	end := len(cells)
	for end > 0 && cells[end-1] == (screen.Cell{}) {
		end--
	}
	out := []any{}
	for x := 0; x < end; {
		style := cells[x].Style
		var text []rune
		for ; x < end && cells[x].Style == style; x++ {
			switch r := cells[x].Rune; {
			case r == 0:
				text = append(text, ' ')
			case r > 0 && !safetext.Printable(r):
				text = append(text, '\uFFFD')
			case r > 0:
				text = append(text, r)
			}
		}
		out = append(out, []any{string(text), rgb(style.FG), rgb(style.BG), int(style.Attr)})
	}
	return out
}

// rgb returns a color as a number; -1 is the default.
func rgb(c screen.Color) int {
	if c == 0 {
		return -1
	}
	if c&screen.RGB != 0 {
		return int(c &^ screen.RGB)
	}
	n := int(c) - 1
	switch {
	case n < 16:
		return [16]int{
			0x000000, 0xcd3131, 0x0dbc79, 0xe5e510, 0x2472c8, 0xbc3fbc, 0x11a8cd, 0xe5e5e5,
			0x666666, 0xf14c4c, 0x23d18b, 0xf5f543, 0x3b8eea, 0xd670d6, 0x29b8db, 0xffffff,
		}[n]
	case n < 232:
		n -= 16
		level := func(v int) int {
			if v == 0 {
				return 0
			}
			return 55 + 40*v
		}
		return level(n/36)<<16 | level(n/6%6)<<8 | level(n%6)
	}
	gray := 8 + 10*(n-232)
	return gray<<16 | gray<<8 | gray
}

// digest returns the CSP source expression that allows one inline script or style.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func writeHTML(w io.Writer, in *cast.Reader) error {
	h := in.Header()
	facts := factsOf(h)
	_, err := fmt.Fprintf(w, `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; script-src %s; style-src %s; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width">
<title>%s</title>
<style>%s</style>
</head>
<body>
<dl>
`, digest(playerJS), digest(playerCSS), html.EscapeString(safetext.Line(h.Title, maxLabel)), playerCSS)
	for _, f := range facts {
		if err == nil {
			_, err = fmt.Fprintf(w, "<dt>%s</dt><dd>%s</dd>\n", f.Name, html.EscapeString(f.Value))
		}
	}
	if err == nil {
		_, err = io.WriteString(w, `</dl>
<p id="notice" role="status"></p>
<div id="screen" role="img" aria-label="Terminal"></div>
<form id="controls">
<button type="button" id="play">Play</button>
<input type="range" id="seek" aria-label="Position" min="0" value="0">
<output id="time"></output>
<label>Speed
<select id="speed"><option>1</option><option>2</option><option>4</option><option>16</option></select></label>
</form>
<ol id="markers"></ol>
<script type="application/json" id="frames">[`)
	}
	if err != nil {
		return err
	}
	if err := writeFrames(w, in); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "]</script>\n<script>%s</script>\n</body>\n</html>\n", playerJS)
	return err
}

func writeFrames(w io.Writer, in *cast.Reader) error {
	h := in.Header()
	p := &page{w: w, screen: screen.New(h.Cols, h.Rows), whole: true}
	if err := p.frame(0); err != nil {
		return err
	}
	var shown filter
	var since, last time.Duration
	dirty := false
	flush := func() error {
		if !dirty {
			return nil
		}
		dirty = false
		return p.frame(last)
	}
	err := each(in, func(ev cast.Event) error {
		if dirty && ev.Time >= since+frameEvery {
			if err := flush(); err != nil {
				return err
			}
		}
		switch ev.Code {
		case cast.Output:
			_, _ = p.screen.Write(shown.clean(ev.Data)) // never fails
		case cast.Resize:
			cols, rows, err := ev.Size()
			if err != nil {
				return nil //nolint:nilerr // a size that is not understood changes nothing
			}
			p.screen.Resize(cols, rows)
			p.whole = true
		case cast.Marker:
			if err := flush(); err != nil {
				return err
			}
			label := safetext.Line(string(ev.Data), maxLabel)
			if string(ev.Data) == cast.EncryptedMarker {
				label = EncryptedNotice
			}
			return p.write(frame{Time: ev.Time.Milliseconds(), Label: label})
		case cast.Exit:
			if err := flush(); err != nil {
				return err
			}
			return p.write(
				frame{Time: ev.Time.Milliseconds(), Label: "exit status " + safetext.Line(string(ev.Data), maxLabel)},
			)
		default:
			return nil
		}
		if !dirty {
			dirty, since = true, ev.Time
		}
		last = ev.Time
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}
