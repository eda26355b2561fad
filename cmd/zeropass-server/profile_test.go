package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestProfile(t *testing.T) {
	p := start(t, t.TempDir(), loopback, adminLoopback)
	defer p.stop(t)
	for _, seconds := range []string{"0", "31", "-1", "x"} {
		if code, _ := get(t, p.AdminURL+"/profile?seconds="+seconds); code != http.StatusBadRequest {
			t.Errorf("seconds=%s: %d", seconds, code)
		}
	}
	code, body := get(t, p.AdminURL+"/profile?seconds=1")
	unpacked, err := gzip.NewReader(strings.NewReader(body))
	if code != http.StatusOK || err != nil {
		t.Fatalf("%d, %v: not packed as pprof reads it", code, err)
	}
	if b, err := io.ReadAll(unpacked); err != nil || !bytes.Contains(b, []byte("nanoseconds")) {
		t.Fatalf("%d bytes, %v: no profile", len(b), err)
	}

	// While one is taken there is no other.
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil { // the short one below may be there before
			request, _ := http.NewRequestWithContext(ctx, http.MethodGet, p.AdminURL+"/profile?seconds=30", nil)
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
			}
		}
	}()
	for code != http.StatusConflict {
		code, _ = get(t, p.AdminURL+"/profile?seconds=1")
	}
	cancel() // whoever is gone waits no more, and the next one may come
	<-ended
	for code != http.StatusOK {
		code, _ = get(t, p.AdminURL+"/profile?seconds=1")
	}
}
