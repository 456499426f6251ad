package doctor

import (
	"strings"
	"testing"
)

func TestDisk(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		s    space
		want string // of the error; "" = none
	}{
		{"well", space{free: 1 << 30, files: 1000, countsFiles: true}, ""},
		{"just enough space", space{free: minFree, files: minFiles, countsFiles: true}, ""},
		{"files are not counted", space{free: 1 << 30}, ""},
		{"full", space{free: minFree - 1, files: 1000, countsFiles: true}, "16383 KiB left"},
		{"out of inodes", space{free: 1 << 30, files: minFiles - 1, countsFiles: true}, "df -i /state"},
		{"read-only", space{free: 1 << 30, files: 1000, countsFiles: true, readOnly: true}, "read-only"},
	} {
		found, err := tc.s.verdict("/state")
		if tc.want == "" {
			if err != nil || !strings.Contains(found, "/state") {
				t.Errorf("%s: %q, %v", tc.name, found, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}
