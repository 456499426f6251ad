package cli

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
)

// openBrowser opens an address in the user's browser. BROWSER names a program to
// use; otherwise it is the system's choice.
func openBrowser(ctx context.Context, getenv func(string) string, address string) error {
	program := []string{"xdg-open"}
	switch chosen := getenv("BROWSER"); {
	case chosen != "":
		program = []string{chosen}
	case runtime.GOOS == "darwin":
		program = []string{"open"}
	case runtime.GOOS == "windows":
		program = []string{"rundll32", "url.dll,FileProtocolHandler"}
	case getenv("DISPLAY") == "" && getenv("WAYLAND_DISPLAY") == "":
		return errors.New("there is no display")
	}
	// The browser outlives this program.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program[0], append(program[1:], address)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}
