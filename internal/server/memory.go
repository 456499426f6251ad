package server

import (
	"context"
	"math"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"time"
)

const (
	// firstRelease is how long after the start memory is given back. The set-up needs
	// much more than the server does: hashing a password takes 64 MiB.
	firstRelease = 3 * time.Second
	releaseEvery = time.Minute
	// spareMemory is how much unused memory the server keeps.
	spareMemory = 4 << 20
	// calmCycles is how many garbage collections there are between two looks at most
	// while the server is idle.
	calmCycles = 2
)

// Metrics of the Go runtime.
const (
	metricObjects  = "/memory/classes/heap/objects:bytes" // with garbage
	metricFree     = "/memory/classes/heap/free:bytes"
	metricUnused   = "/memory/classes/heap/unused:bytes"
	metricGCCycles = "/gc/cycles/total:gc-cycles"
)

// measureMemory returns the memory that the heap takes from the system, and how many
// garbage collections there have been.
func measureMemory() (heap, cycles uint64) {
	samples := []runtimemetrics.Sample{
		{Name: metricObjects}, {Name: metricFree}, {Name: metricUnused}, {Name: metricGCCycles},
	}
	runtimemetrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64() + samples[2].Value.Uint64(), samples[3].Value.Uint64()
}

// releaseMemory gives memory back to the system after the start, and after every
// burst of work. The Go runtime keeps what a burst has needed for minutes, and gives
// it back only in part: an idle server allocates nothing, so nothing makes it
// collect.
func releaseMemory(ctx context.Context) {
	timer := time.NewTimer(firstRelease)
	defer timer.Stop()
	floor, before := uint64(0), uint64(math.MaxUint64-calmCycles)
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		heap, cycles := measureMemory()
		if heap > floor+spareMemory && cycles <= before+calmCycles {
			debug.FreeOSMemory()
			heap, cycles = measureMemory()
			floor = heap // what is in use
		}
		floor, before = min(floor, heap), cycles
		timer.Reset(releaseEvery)
	}
}
