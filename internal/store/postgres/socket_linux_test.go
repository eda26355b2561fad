package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSocket compares a socket of ours with what package net says of one.
func TestSocket(t *testing.T) {
	for _, network := range []struct{ name, address string }{
		{"unix", filepath.Join(t.TempDir(), "s")},
		{"tcp", "127.0.0.1:0"},
	} {
		t.Run(network.name, func(t *testing.T) {
			listener, err := net.Listen(network.name, network.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = listener.Close() }()
			dial := dialer((&net.Dialer{}).DialContext)
			ours, err := dial(t.Context(), network.name, listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ours.Close() }()
			if _, is := ours.(*socket); !is {
				t.Fatalf("it is a %T", ours)
			}
			theirs, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = theirs.Close() }()

			// More than any buffer between them takes, both ways.
			sent := make([]byte, 16<<20)
			_, _ = rand.Read(sent)
			echoed := make(chan error, 1)
			go func() {
				_, err := io.CopyN(theirs, theirs, int64(len(sent)))
				echoed <- err
			}()
			written := make(chan error, 1)
			go func() {
				n, err := ours.Write(sent)
				if n != len(sent) {
					err = errors.Join(err, io.ErrShortWrite)
				}
				written <- err
			}()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(ours, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("other bytes came back, %v", err)
			}
			if err := errors.Join(<-written, <-echoed); err != nil {
				t.Error(err)
			}
			if n, err := ours.Read(nil); n != 0 || err != nil {
				t.Errorf("read nothing: %d, %v", n, err)
			}

			// Deadlines hold, for both.
			if err := ours.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := ours.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) || !isAway(err) {
				t.Errorf("read: %v", err)
			}
			if n, err := ours.Write(sent); n == len(sent) || !errors.Is(err, os.ErrDeadlineExceeded) || !isAway(err) {
				t.Errorf("wrote %d: %v", n, err)
			}
			if err := ours.SetDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}

			// The other end goes.
			if _, err := theirs.Write([]byte("last")); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			if n, err := ours.Read(got); string(got[:n]) != "last" || err != nil {
				t.Errorf("read %q, %v", got[:n], err)
			}
			_ = theirs.Close()
			if n, err := ours.Read(got); n != 0 || err == nil || !isAway(err) {
				t.Errorf("read from one that is gone: %d, %v", n, err)
			}
			for err = nil; err == nil; { // some may still be taken
				_, err = ours.Write(got)
			}
			if !isAway(err) {
				t.Errorf("wrote to one that is gone: %v", err)
			}
			_ = ours.Close()
			if _, err := ours.Read(got); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read from one that is closed: %v", err)
			}
			if _, err := ours.Write(got); !errors.Is(err, net.ErrClosed) {
				t.Errorf("wrote to one that is closed: %v", err)
			}
			if _, err := dial(context.Background(), network.name, listener.Addr().String()+"0"); err == nil {
				t.Error("dialed nobody")
			}
		})
	}
}
