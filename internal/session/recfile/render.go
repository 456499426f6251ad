package recfile

import "sekisho/internal/session/screen"

// Render shows a record on a screen, and returns the screen that follows: a
// keyframe begins a new one.
func Render(s *screen.Screen, r Record) *screen.Screen {
	switch r.Kind {
	case Output:
		_, _ = s.Write(r.Data) // never fails
	case Resize:
		if cols, rows, _, ok := Size(r.Data); ok {
			s.Resize(cols, rows)
		}
	case Keyframe:
		if cols, rows, dump, ok := Size(r.Data); ok {
			s = screen.New(cols, rows)
			_, _ = s.Write(dump)
		}
	default:
	}
	return s
}
