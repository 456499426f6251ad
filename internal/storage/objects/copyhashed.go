package objects

import (
	"errors"
	"hash"
	"io"
	"sync"
)

// smallContent is the size up to which content is hashed inline: starting goroutines would
// take longer.
const smallContent = 256 << 10

// blocks is how many chunks of an upload are in memory while they are hashed.
const blocks = 4

// block is a chunk of content that the hashes read. It is reused when they are done.
type block struct {
	data  []byte
	users sync.WaitGroup
}

// copyHashed copies src to dst and to the hashes, each in its own goroutine: hashing takes
// longer than encrypting. All goroutines have ended when it returns.
func copyHashed(dst io.Writer, src io.Reader, size int64, hashes ...hash.Hash) (int64, error) {
	if size >= 0 && size <= smallContent {
		sinks := make([]io.Writer, 0, len(hashes)+1)
		for _, h := range hashes {
			sinks = append(sinks, h)
		}
		return io.Copy(io.MultiWriter(append(sinks, dst)...), src)
	}
	var running sync.WaitGroup
	queues := make([]chan *block, len(hashes))
	for i, h := range hashes {
		queue := make(chan *block, blocks)
		queues[i] = queue
		running.Go(func() {
			for b := range queue {
				h.Write(b.data)
				b.users.Done()
			}
		})
	}
	defer func() {
		for _, queue := range queues {
			close(queue)
		}
		running.Wait()
	}()
	var ring [blocks]block
	buffer := make([]byte, blocks*chunkSize)
	for total, i := int64(0), 0; ; i = (i + 1) % blocks {
		b := &ring[i]
		b.users.Wait()
		n, err := fill(src, buffer[i*chunkSize:(i+1)*chunkSize])
		if b.data = buffer[i*chunkSize:][:n]; n > 0 {
			b.users.Add(len(queues))
			for _, queue := range queues {
				queue <- b
			}
			if _, err := dst.Write(b.data); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// fill reads until p is full. Unlike [io.ReadFull] it returns the reader's own error:
// io.ErrUnexpectedEOF is the error of a truncated body.
func fill(src io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = src.Read(p[n:])
		n += m
	}
	return n, err
}
