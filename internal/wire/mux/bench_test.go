package mux_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"sekisho/internal/wire/mux"
)

// BenchmarkStreams carries data over several streams at once.
func BenchmarkStreams(b *testing.B) {
	for _, streams := range []int{1, 16} {
		b.Run(fmt.Sprint(streams), func(b *testing.B) {
			near, far := net.Pipe()
			client, server := mux.Client(near), mux.Server(far)
			defer func() { _, _ = client.Close(), server.Close() }()
			var all sync.WaitGroup
			share := b.N/streams + 1
			b.SetBytes(mux.CopySize)
			for range streams {
				st, err := client.Open()
				if err != nil {
					b.Fatal(err)
				}
				peer, err := server.Accept()
				if err != nil {
					b.Fatal(err)
				}
				all.Go(func() {
					piece := make([]byte, mux.CopySize)
					for range share {
						_, _ = st.Write(piece)
					}
					_ = st.CloseWrite()
				})
				all.Go(func() {
					n, err := io.CopyBuffer(
						struct{ io.Writer }{io.Discard},
						struct{ io.Reader }{peer},
						make([]byte, mux.CopySize),
					)
					if want := int64(share) * mux.CopySize; err != nil || n != want {
						b.Errorf("%d bytes arrived, want %d: %v", n, want, err)
					}
				})
			}
			all.Wait()
		})
	}
}
