// Package mgs is the AgentMessage frame: the binary message that agents,
// clients and the server exchange over WebSockets, and the JSON bodies it
// carries. It does no I/O.
//
// # Layout
//
// All integers are big-endian.
//
//	offset size field
//	     0    4 HeaderLength   116; some writers send 112 and no PayloadType
//	     4   32 MessageType    ASCII, padded with spaces (some pad with NUL)
//	    36    4 SchemaVersion  1
//	    40    8 CreatedDate    milliseconds since 1970; never 0
//	    48    8 SequenceNumber
//	    56    8 Flags          bit 0 SYN, bit 1 FIN; nobody acts on them
//	    64   16 MessageId      UUID with its two 8-byte halves swapped
//	    80   32 PayloadDigest  SHA-256 of the payload
//	   112    4 PayloadType    absent when HeaderLength is 112
//	   116    4 PayloadLength  at 112 when HeaderLength is 112
//	   120      Payload        to the end of the frame
//
// The stock agent crashes on a frame whose header length points past its end, so a frame
// that [Parse] rejects must never be forwarded.
package mgs
