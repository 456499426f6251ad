package console

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

// dist is the built page, or only a placeholder if it has not been built.
//
//go:embed all:dist
var dist embed.FS

// asset is one file of the page. It stays in the program file: what nobody asks for
// takes no memory.
type asset struct {
	contentType string
	etag        func() (string, error)
	raw         func() ([]byte, error)
	br          func() ([]byte, error) // nil = not precompressed
	// immutable files have their content's hash in their name.
	immutable bool
}

// assets serves the page's files by their path under Prefix.
type assets map[string]*asset

// contentTypes is fixed, because the system's table differs between machines.
var contentTypes = map[string]string{
	".html":  "text/html; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".svg":   "image/svg+xml",
	".png":   "image/png",
	".ico":   "image/x-icon",
	".woff2": "font/woff2",
	".json":  "application/json",
	".txt":   "text/plain; charset=utf-8",
}

func loadAssets() (assets, error) {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, err
	}
	return readAssets(sub)
}

// readAssets reads a built page. A file with the suffix .br is the precompressed form of the file
// without it.
func readAssets(fsys fs.FS) (assets, error) {
	a := make(assets)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".br") {
			return err
		}
		ct, ok := contentTypes[path.Ext(name)]
		if !ok {
			return nil
		}
		f := &asset{
			contentType: ct, immutable: strings.HasPrefix(name, "assets/"),
			raw: func() ([]byte, error) { return fs.ReadFile(fsys, name) },
		}
		f.etag = sync.OnceValues(func() (string, error) {
			raw, err := f.raw()
			sum := sha256.Sum256(raw)
			return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, err
		})
		switch _, err := fs.Stat(fsys, name+".br"); {
		case err == nil:
			f.br = func() ([]byte, error) { return fs.ReadFile(fsys, name+".br") }
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		a[name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the console's page: %w", err)
	}
	if a["index.html"] == nil {
		a["index.html"] = a["placeholder.html"]
	}
	if a["index.html"] == nil {
		return nil, errors.New("the console's page has no index.html")
	}
	return a, nil
}

// ServeHTTP serves a file, or the page itself for the paths that the page's
// own router knows.
func (a assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, Prefix)
	f, ok := a[name]
	if !ok {
		if strings.HasPrefix(name, "assets/") {
			http.NotFound(w, r)
			return
		}
		f = a["index.html"]
	}
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Add("Vary", "Accept-Encoding")
	if f.immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	etag, err := f.etag()
	if err != nil {
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	h.Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	read := f.raw
	if f.br != nil && accepts(r, "br") {
		h.Set("Content-Encoding", "br")
		read = f.br
	}
	body, err := read()
	if err != nil {
		h.Del("Content-Encoding")
		http.Error(w, "the file cannot be read", http.StatusInternalServerError)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// accepts reports whether the client accepts a content coding.
func accepts(r *http.Request, coding string) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == coding {
			q := strings.ReplaceAll(params, " ", "")
			return q != "q=0" && q != "q=0.0"
		}
	}
	return false
}
