package cli_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sekisho"
	"sekisho/internal/client"
)

const shortCast = `{"version":3,"term":{"cols":80,"rows":24}}
[1.0,"o","shown \u001b]52;c;eA==\u0007</script>\r\n"]
`

// recordingPages returns shortCast in pages of 40 bytes.
func recordingPages(live bool) map[string]func(map[string]any) any {
	return map[string]func(map[string]any) any{"GetSessionRecording": func(in map[string]any) any {
		from, _ := in["StartOffset"].(float64)
		to := min(int(from)+40, len(shortCast))
		return map[string]any{
			"Data":       base64.StdEncoding.EncodeToString([]byte(shortCast[int(from):to])),
			"NextOffset": to, "TotalBytes": len(shortCast), "Complete": !live && to == len(shortCast), "Sealed": !live,
			"Live": live,
		}
	}}
}

func TestRecordingStatus(t *testing.T) {
	t.Parallel()
	answer := func(state string) map[string]func(map[string]any) any {
		return map[string]func(map[string]any) any{"GetRecordingStorage": func(map[string]any) any {
			return map[string]any{
				"State": state, "Problems": []string{"it is \x1b[31mslow"}, "Recordings": 12, "TotalBytes": 2_500_000,
				"LimitBytes": 10_000_000, "DiskBytes": 999,
				"Store": map[string]any{"Location": "s3://a/b", "WaitingBytes": 1000, "FetchingRecordings": 3},
			}
		}}
	}
	out, _, err := run(t, answer("working"), "recordings", "status")
	for _, want := range []string{"working", "2.4 MiB", "9.5 MiB (25% used)", "999 B", "s3://a/b", "1000 B",
		"3 recordings"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if err != nil || strings.Contains(out, "\x1b[31m") {
		t.Errorf("%q, %v", out, err)
	}
	out, _, err = run(t, answer("full"), "recordings", "status", "-o", "json")
	exit, ok := errors.AsType[*client.ExitError](err)
	if !ok || exit.Code != 1 || !strings.Contains(out, `"State": "full"`) {
		t.Errorf("%s %v", out, err)
	}
}

func TestExportRecording(t *testing.T) {
	t.Parallel()
	for _, live := range []bool{false, true} {
		for format, want := range map[string]string{
			"asciicast": `"shown </script>\r\n"`, "text": "0:00:01  shown </script>\n", "html": `shown \u003c/script\u003e`,
		} {
			out, _, err := run(t, recordingPages(live), "recordings", "export", "alice-1", "--format", format)
			if err != nil || !strings.Contains(out, want) || strings.Contains(out, "]52") {
				t.Errorf("%s: %q, %v", format, out, err)
			}
		}
	}
}

func TestExportRecordingToFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "a.html")
	args := []string{"recordings", "export", "alice-1", "--format", "html", "--file", name}
	if _, _, err := run(t, recordingPages(false), args...); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(name)
	if err != nil || st.Size() == 0 || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if _, _, err := run(t, recordingPages(false), args...); sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Errorf("a file that exists: %v", err)
	}
	missing := filepath.Join(t.TempDir(), "b.html")
	broken := map[string]func(map[string]any) any{"GetSessionRecording": func(map[string]any) any {
		return map[string]any{
			"Data":       base64.StdEncoding.EncodeToString([]byte("no cast\n")),
			"NextOffset": 8,
			"TotalBytes": 8,
			"Complete":   true,
		}
	}}
	if _, _, err := run(t, broken, "recordings", "export", "alice-1", "--file", missing); err == nil {
		t.Error("a broken recording is exported")
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part of a file is left: %v", err)
	}
	_, _, err = run(t, nil, "recordings", "export", "alice-1", "--format", "gif")
	if exit, ok := errors.AsType[*client.ExitError](err); err == nil || ok && exit.Code == 0 {
		t.Errorf("unknown format: %v", err)
	}
}

func TestHoldRecording(t *testing.T) {
	t.Parallel()
	answers := map[string]func(map[string]any) any{}
	for _, op := range []string{"HoldSessionRecording", "ReleaseSessionRecording"} {
		answers[op] = func(map[string]any) any { return map[string]any{} }
	}
	_, asked, err := run(t, answers, "recordings", "hold", "alice-1", "--reason", "case 7")
	if err != nil || len(asked["HoldSessionRecording"]) != 1 || asked["HoldSessionRecording"][0]["Reason"] != "case 7" {
		t.Errorf("%v, %v", asked, err)
	}
	_, asked, err = run(t, answers, "recordings", "release", "alice-1")
	if err != nil || asked["ReleaseSessionRecording"][0]["SessionId"] != "alice-1" {
		t.Errorf("%v, %v", asked, err)
	}
}
