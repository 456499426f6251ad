package link

import (
	"math/bits"
	"sync"
)

// Messages of at least minPooled bytes are read into reusable buffers whose sizes are
// powers of two.
const (
	minPooled     = 4 << 10
	minPooledBits = 12
	maxPooledBits = 18
)

var messageBuffers [maxPooledBits - minPooledBits + 1]sync.Pool // of *[]byte

// newBuffer returns a buffer of n bytes. Its content is undefined.
func newBuffer(n int) []byte {
	class := bits.Len(uint(n-1)) - minPooledBits
	if n < minPooled || class >= len(messageBuffers) {
		return make([]byte, n)
	}
	if b, ok := messageBuffers[class].Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, 1<<(class+minPooledBits))
}

// Recycle returns the buffer of a message for reuse. The caller must no longer use the
// message.
func Recycle(message []byte) {
	n := cap(message)
	class := bits.Len(uint(n)) - 1 - minPooledBits
	if n&(n-1) != 0 || class < 0 || class >= len(messageBuffers) {
		return
	}
	b := message[:0]
	messageBuffers[class].Put(&b)
}
