package mux

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A stream whose reader is slightly slower than its sender is kept in memory, and a stream
// whose reader stops does not stop the others.
func TestSharedConnectionWaitsForReaders(t *testing.T) {
	t.Parallel()
	for _, stalled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			client, server := Client(near), Server(far)
			defer func() { _, _ = client.Close(), server.Close() }()
			streams, peers := make([]*Stream, 2), make([]*Stream, 2)
			for i := range streams {
				var err error
				if streams[i], err = client.Open(); err != nil {
					t.Fatal(err)
				}
				if peers[i], err = server.Accept(); err != nil {
					t.Fatal(err)
				}
			}
			const size = 4 << 20
			go func() {
				_, _ = streams[0].Write(make([]byte, size))
				_, _ = streams[1].Write([]byte("x"))
			}()
			synctest.Wait() // until the reader of the connection waits
			server.mu.Lock()
			held, file := peers[0].held.len(), peers[0].held.file
			server.mu.Unlock()
			if held < slowAt || held > slowAt+1<<16 || file != nil {
				t.Fatalf("%d bytes are held, in a file: %v", held, file != nil)
			}
			if stalled {
				<-time.After(2 * shareTime)
				synctest.Wait()
				if n, err := peers[1].Read(make([]byte, 1)); n != 1 || err != nil {
					t.Fatalf("the other stream: %d bytes, %v", n, err)
				}
			}
			for read := 0; read < size; {
				n, err := peers[0].Read(make([]byte, 1<<16))
				if err != nil {
					t.Fatal(err)
				}
				read += n
				synctest.Wait()
				server.mu.Lock()
				file, behind := peers[0].held.file, peers[0].behind
				server.mu.Unlock()
				if !stalled && (file != nil || behind) {
					t.Fatal("the stream went to a file")
				}
				if read == size && behind {
					t.Fatal("the stream is behind after it was read")
				}
			}
			if !stalled {
				if _, err := io.ReadFull(peers[1], make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
