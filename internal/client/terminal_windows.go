package client

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/term"
)

// sizePoll is the interval at which the size of the console is read. Windows
// reports changes only among the input events, which the session's input is
// read from.
const sizePoll = 250 * time.Millisecond

// watchSize sends to changed when the size of the console changes, until stop is
// called.
func watchSize(out *os.File, changed chan os.Signal) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(sizePoll)
		defer tick.Stop()
		cols, rows, _ := term.GetSize(int(out.Fd())) // 0 if out is not a console
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			c, r, err := term.GetSize(int(out.Fd()))
			if err != nil || c == cols && r == rows {
				continue
			}
			cols, rows = c, r
			select {
			case changed <- os.Interrupt: // any value
			default: // a change is pending
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// utf8CodePage is the code page of UTF-8.
const utf8CodePage = 65001

// prepareOutput makes the console interpret control sequences and UTF-8, as the
// programs on nodes send them.
func prepareOutput(out *os.File) (restore func()) {
	console := windows.Handle(out.Fd())
	var mode uint32
	if windows.GetConsoleMode(console, &mode) != nil {
		return func() {} // not a console
	}
	page, err := windows.GetConsoleOutputCP()
	if err == nil {
		err = windows.SetConsoleOutputCP(utf8CodePage)
	}
	changedPage := err == nil
	_ = windows.SetConsoleMode(
		console,
		mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING|windows.DISABLE_NEWLINE_AUTO_RETURN,
	) // old consoles lack it
	return func() {
		_ = windows.SetConsoleMode(console, mode) // best effort
		if changedPage {
			_ = windows.SetConsoleOutputCP(page)
		}
	}
}
