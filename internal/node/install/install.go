// Package install serves the installation script and the agents with which a machine becomes a
// node. They are public and need no signature. The script gets the activation, which permits the
// registration, on its standard input with its other settings; [Handler.Command] builds the command
// line.
package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"text/template"
	"time"

	"sekisho"
)

// Prefix is the path prefix of everything served here.
const Prefix = "/install/"

// architectures are the architectures of agents, with Go's names.
var architectures = []string{"amd64", "arm64"}

// Config is the configuration of a Handler.
type Config struct {
	// Dir contains sekisho-agent-linux-amd64 and sekisho-agent-linux-arm64. A missing one is not
	// offered, but for the server's own architecture, a file named sekisho-agent suffices.
	Dir    string
	CA     string // PEM of the server's own CA; empty if machines already trust it
	Region string
}

//go:embed agent.sh.tmpl
var scriptText string

// Handler serves the script and the agents.
type Handler struct {
	cfg    Config
	script *template.Template

	mu   sync.Mutex
	sums map[string]summed // by file name, so that requests do not make the server read an agent repeatedly
}

// summed is the cached sum of a file.
type summed struct {
	file fs.FileInfo
	sum  string
}

// New returns a Handler.
func New(cfg Config) (*Handler, error) {
	if strings.Contains(cfg.CA, "'") || strings.Contains(cfg.Region, "'") {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "the CA and the region must not contain quotes")
	}
	t, err := template.New("agent.sh").Option("missingkey=error").Parse(scriptText)
	return &Handler{cfg: cfg, script: t, sums: map[string]summed{}}, err
}

// host matches a Host header that is safe in a script.
var host = regexp.MustCompile(`^([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, Prefix)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch name {
	case "agent.sh", "SHA256SUMS":
		if !host.MatchString(r.Host) {
			http.Error(w, "the Host header is not a host name", http.StatusBadRequest)
			return
		}
		text, err := h.text(r.Context(), name, r.Host)
		if err != nil {
			http.Error(w, "not available", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Cache-Control", "no-store") // the script contains the sums of the current agents
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
		return
	}
	if name == "ca.pem" && h.cfg.CA != "" {
		w.Header().Set("Content-Type", "application/x-pem-file")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(h.cfg.CA))
		return
	}
	for _, arch := range architectures {
		if name == agentName(arch) {
			h.agent(w, r, name)
			return
		}
	}
	http.NotFound(w, r)
}

func agentName(arch string) string { return "sekisho-agent-linux-" + arch }

func (h *Handler) agent(w http.ResponseWriter, r *http.Request, name string) {
	f, st, err := h.open(name)
	if err != nil {
		http.Error(
			w,
			"This server offers no "+name+": the administrator can add it to the agents' directory.",
			http.StatusNotFound,
		)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", st.ModTime(), f)
}

func (h *Handler) open(name string) (*os.File, fs.FileInfo, error) {
	if h.cfg.Dir == "" {
		return nil, nil, fs.ErrNotExist
	}
	f, err := os.Open(filepath.Join(h.cfg.Dir, name))
	if errors.Is(err, fs.ErrNotExist) && name == agentName(runtime.GOARCH) && runtime.GOOS == "linux" {
		f, err = os.Open(filepath.Join(h.cfg.Dir, "sekisho-agent")) // built for the server's architecture
	}
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, st, nil
}

// Offered returns the SHA-256 sums of the available agents, by architecture.
func (h *Handler) Offered(ctx context.Context) (map[string]string, error) {
	sums := map[string]string{}
	for _, arch := range architectures {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, st, err := h.open(agentName(arch))
		if err != nil {
			continue // not offered
		}
		sums[arch], err = h.sum(f, st)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// sum returns the SHA-256 sum of a file, which is read again only if it has changed.
func (h *Handler) sum(f *os.File, st fs.FileInfo) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if have, ok := h.sums[f.Name()]; ok && os.SameFile(have.file, st) && have.file.Size() == st.Size() &&
		have.file.ModTime().Equal(st.ModTime()) {
		return have.sum, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	text := hex.EncodeToString(sum.Sum(nil))
	h.sums[f.Name()] = summed{st, text}
	return text, nil
}

func (h *Handler) text(ctx context.Context, name, at string) ([]byte, error) {
	sums, err := h.Offered(ctx)
	if err != nil {
		return nil, err
	}
	var script bytes.Buffer
	if err := h.script.Execute(&script, map[string]any{
		"Endpoint": "https://" + at, "CA": strings.TrimSpace(h.cfg.CA), "Region": h.cfg.Region, "AMD64": sums["amd64"],
		"ARM64": sums["arm64"],
	}); err != nil {
		return nil, err
	}
	if name == "agent.sh" {
		return script.Bytes(), nil
	}
	var list bytes.Buffer
	fmt.Fprintf(&list, "%x  agent.sh\n", sha256.Sum256(script.Bytes()))
	for _, arch := range architectures {
		if sums[arch] != "" {
			fmt.Fprintf(&list, "%s  %s\n", sums[arch], agentName(arch))
		}
	}
	return list.Bytes(), nil
}
