package main

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"
)

// How long a profile is taken, in seconds.
const (
	usualProfile   = 10
	longestProfile = 30
)

// profile answers with where the server's processor time goes for a while, as
// go tool pprof reads it: names and lines of the program's functions and nothing of
// what they work on. There is one at a time.
func profile(w http.ResponseWriter, r *http.Request) {
	seconds := usualProfile
	if asked := r.URL.Query().Get("seconds"); asked != "" {
		var err error
		if seconds, err = strconv.Atoi(asked); err != nil || seconds < 1 || seconds > longestProfile {
			http.Error(w, fmt.Sprintf("seconds: 1 to %d", longestProfile), http.StatusBadRequest)
			return
		}
	}
	var taken bytes.Buffer
	if err := pprof.StartCPUProfile(&taken); err != nil {
		http.Error(w, "another profile is taken: ask again when it has ended", http.StatusConflict)
		return
	}
	select {
	case <-r.Context().Done():
	case <-time.After(time.Duration(seconds) * time.Second):
	}
	pprof.StopCPUProfile()
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(taken.Bytes())
}
