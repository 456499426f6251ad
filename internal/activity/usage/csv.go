package usage

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// columns are the names of a file's columns.
var columns = []string{
	"date", "person", "node", "document", "sessions", "minutes", "bytes_in", "bytes_out", "recording_bytes", "log_bytes",
}

func (r *row) fields(day time.Time) []string {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		day.Format(time.DateOnly), r.person, r.node, r.document, strconv.Itoa(r.sessions),
		strconv.FormatFloat(r.time.Minutes(), 'f', 2, 64),
		number(r.volume.In), number(r.volume.Out), number(r.volume.Recording), number(r.volume.Log),
	}
}

// encode returns the file of a day.
func encode(d *Definition, day time.Time, rows []*row) (content []byte, contentType string, err error) {
	var file bytes.Buffer
	switch d.Compression {
	case GZIP:
		out := gzip.NewWriter(&file)
		err, contentType = errors.Join(writeCSV(out, day, rows), out.Close()), "application/gzip"
	case ZIP:
		archive := zip.NewWriter(&file)
		out, opened := archive.Create(d.Name + "-00001.csv")
		if opened != nil {
			return nil, "", opened
		}
		err, contentType = errors.Join(writeCSV(out, day, rows), archive.Close()), "application/zip"
	default:
		err = fmt.Errorf("report %s: unknown compression %q", d.Name, d.Compression)
	}
	return file.Bytes(), contentType, err
}

func writeCSV(out io.Writer, day time.Time, rows []*row) error {
	w := csv.NewWriter(out)
	if err := w.Write(columns); err != nil {
		return err
	}
	for _, r := range rows {
		if err := w.Write(r.fields(day)); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
