package recfile

import "sekisho/internal/session/screen"

// Render applies a record to a screen and returns the resulting screen, which is a new one after a
// keyframe.
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
