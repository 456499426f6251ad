package console

import (
	"net/http/httptest"
	"testing"
	"testing/fstest"
)

func TestAssets(t *testing.T) {
	t.Parallel()
	a, err := readAssets(fstest.MapFS{
		"placeholder.html":        {Data: []byte("placeholder")},
		"index.html":              {Data: []byte("page")},
		"index.html.br":           {Data: []byte("page-br")},
		"assets/app-AbC123.js":    {Data: []byte("script")},
		"assets/app-AbC123.js.br": {Data: []byte("script-br")},
		"favicon.svg":             {Data: []byte("<svg/>")},
	})
	if err != nil {
		t.Fatal(err)
	}
	const forever, revalidate = "public, max-age=31536000, immutable", "no-cache"
	for name, tt := range map[string]struct {
		path, accept                     string
		status                           int
		body, ctype, encoding, cacheable string
	}{
		"page": {"/console/", "", 200, "page", "text/html; charset=utf-8", "", revalidate},
		"page br": {"/console/", "gzip, deflate, br, zstd", 200, "page-br", "text/html; charset=utf-8", "br",
			revalidate},
		"br refused": {"/console/", "br;q=0, gzip", 200, "page", "text/html; charset=utf-8", "", revalidate},
		"route":      {"/console/sessions/alice-abc.def", "", 200, "page", "text/html; charset=utf-8", "", revalidate},
		"script": {"/console/assets/app-AbC123.js", "br", 200, "script-br", "text/javascript; charset=utf-8", "br",
			forever},
		"icon":         {"/console/favicon.svg", "br", 200, "<svg/>", "image/svg+xml", "", revalidate},
		"no such file": {"/console/assets/app-old.js", "", 404, "404 page not found\n", "text/plain; charset=utf-8", "", ""},
	} {
		r := httptest.NewRequest("GET", "https://x"+tt.path, nil)
		r.Header.Set("Accept-Encoding", tt.accept)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		h := w.Header()
		if w.Code != tt.status || w.Body.String() != tt.body || h.Get("Content-Type") != tt.ctype ||
			h.Get("Content-Encoding") != tt.encoding || h.Get("Cache-Control") != tt.cacheable {
			t.Errorf("%s: %d %q %v", name, w.Code, w.Body, h)
		}
		if tt.status == 200 {
			r.Header.Set("If-None-Match", h.Get("ETag"))
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if w.Code != 304 || w.Body.Len() != 0 {
				t.Errorf("%s again: %d", name, w.Code)
			}
		}
	}
}

func TestPlaceholderUntilBuilt(t *testing.T) {
	t.Parallel()
	a, err := readAssets(fstest.MapFS{"placeholder.html": {Data: []byte("placeholder")}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "https://x/console/", nil))
	if w.Body.String() != "placeholder" {
		t.Errorf("%q", w.Body)
	}
	if _, err := readAssets(fstest.MapFS{}); err == nil {
		t.Error("a page with no files was taken")
	}
}
