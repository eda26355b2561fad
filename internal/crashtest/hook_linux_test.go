package crashtest

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
)

// hook is where the server sends its alarms.
type hook struct {
	*httptest.Server
	heard atomic.Int64
}

func newHook() *hook {
	h := &hook{}
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h.heard.Add(1)
	}))
	return h
}

// writeCertificate writes what the server has to trust.
func (h *hook) writeCertificate(path string) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600)
}
