package recfile

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"sekisho/internal/safetext"
)

// Forwarded is the data of a record of kind [Connection]: a connection that was
// forwarded.
type Forwarded struct {
	// Number is the connection number in Payload records, if there are any.
	Number      int64     `json:"number,omitempty"`
	Peer        string    `json:"peer,omitempty"` // address of the client
	Destination string    `json:"destination"`
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
	BytesOut    int64     `json:"bytes_out"` // to the client
	BytesIn     int64     `json:"bytes_in"`  // to the destination
	Ended       string    `json:"ended"`     // by client, destination or session
}

// Copied is the data of a record of kind [File]: a file or folder that sekisho
// cp copied.
type Copied struct {
	Direction string `json:"direction"` // upload or download
	// Path has slashes and begins with the name of the source.
	Path string `json:"path"`
	Dir  bool   `json:"dir,omitempty"`
	Mode string `json:"mode"` // permission bits in octal, such as 0644
	Size int64  `json:"size"`
	// Offset is the size of the part that the receiver already had, and Passed the number of bytes
	// that were transferred.
	Offset int64  `json:"offset,omitempty"`
	Passed int64  `json:"passed,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // of the whole file
	// Complete reports that the receiver has the file, and that its digest is SHA256.
	Complete bool `json:"complete"`
}

// Values of Copied.Direction.
const (
	Upload   = "upload"
	Download = "download"
)

// String describes a connection for people.
func (c *Forwarded) String() string {
	return fmt.Sprintf("connection to %s, %v, %d bytes in, %d bytes out, ended by the %s",
		c.Destination, c.End.Sub(c.Start).Round(time.Millisecond), c.BytesIn, c.BytesOut, c.Ended)
}

// String describes a file for people.
func (c *Copied) String() string {
	verb := "downloaded"
	if c.Direction == Upload {
		verb = "uploaded"
	}
	switch {
	case c.Dir:
		return fmt.Sprintf("%s folder %s, mode %s", verb, c.Path, c.Mode)
	case !c.Complete:
		return fmt.Sprintf("not completely %s: %s, mode %s, %s of %s",
			verb, c.Path, c.Mode, strconv.FormatInt(c.Offset+c.Passed, 10), Plural(c.Size, "byte"))
	}
	resumed := ""
	if c.Offset > 0 {
		resumed = fmt.Sprintf(", %d of them resumed", c.Offset)
	}
	return fmt.Sprintf("%s %s, mode %s, %s%s, sha256 %s", verb, c.Path, c.Mode, Plural(c.Size, "byte"), resumed, c.SHA256)
}

// Plural returns n with a unit, which gets an s unless n is 1.
func Plural(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.FormatInt(n, 10) + " " + unit + "s"
}

// Describe describes a record of a connection or a file for people. It reports false for other
// kinds, and for data that cannot be parsed.
func Describe(r Record) (string, bool) {
	switch r.Kind {
	case Connection:
		var c Forwarded
		return describe(r.Data, &c)
	case File:
		var c Copied
		return describe(r.Data, &c)
	default:
		return "", false
	}
}

func describe(data []byte, v fmt.Stringer) (string, bool) {
	if json.Unmarshal(data, v) != nil {
		return "", false
	}
	return safetext.Line(v.String(), maxDescription), true
}

// maxDescription limits the result of [Describe], in bytes.
const maxDescription = 5 << 10
