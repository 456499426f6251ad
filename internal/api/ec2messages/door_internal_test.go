package ec2messages

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A poll lasts as long as the agent expects, but it delays neither a server
// that stops nor a client that has disconnected.
func TestPoll(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		client, server, want time.Duration
	}{
		"no messages":  {time.Hour, time.Hour, 15 * time.Second},
		"client gone":  {2 * time.Second, time.Hour, 2 * time.Second},
		"server stops": {time.Hour, 3 * time.Second, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, cancel := context.WithTimeout(t.Context(), tc.client)
				defer cancel()
				server, stop := context.WithTimeout(t.Context(), tc.server)
				defer stop()
				start := time.Now()
				(&door{Config{Done: server}}).quiet(client)
				if took := time.Since(start); took != tc.want {
					t.Errorf("took %s, want %s", took, tc.want)
				}
			})
		})
	}
}
