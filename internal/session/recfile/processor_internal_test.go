package recfile

import (
	"syscall"
	"testing"
)

// processorTime returns how much processor time this process has used, in nanoseconds. Unlike
// elapsed time, other processes do not change it much.
func processorTime(tb testing.TB) int64 {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// ProcessorTime is processorTime for benchmarks outside this package.
var ProcessorTime = processorTime
