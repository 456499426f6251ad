// Package page writes the results of benchmarks into a Markdown page.
package page

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Replace replaces the text between a program's marks in the file.
func Replace(path, program, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+program+": begin -->", "<!-- "+program+": end -->"
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s lacks the lines %s and %s", path, begin, end)
	}
	return os.WriteFile(path, []byte(before+begin+"\n\n"+strings.TrimSpace(text)+"\n\n"+end+after), 0o644)
}

// Measured describes when, how and where a program of bench has measured.
func Measured(program string, args []string) string {
	command := strings.TrimSpace("go run ./" + program + " " + strings.Join(args, " "))
	return fmt.Sprintf("Measured on %s with `%s` in `bench/` on %s.", time.Now().UTC().Format(time.DateOnly), command,
		machine())
}

// machine describes where the measurement ran.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, err := exec.Command("uname", "-r").Output()
	if err != nil {
		kernel = []byte("unknown")
	}
	load := ""
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = ", load average at the end " + strings.Fields(string(text))[0]
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s%s", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)),
		runtime.Version(), load)
}
