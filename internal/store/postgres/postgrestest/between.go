package postgrestest

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Between returns the URL of a database through something that is given both ends of
// each connection, and closes them when that returns.
func Between(t testing.TB, direct string, connect func(client, server net.Conn)) string {
	t.Helper()
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	dir, err := os.MkdirTemp("", "zeropass-between-") // a socket's name is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const socket = ".s.PGSQL.5432"
	target := filepath.Join(query.Get("host"), socket)
	listener, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer func() { _ = client.Close() }()
				server, err := net.Dial("unix", target)
				if err != nil {
					return
				}
				defer func() { _ = server.Close() }()
				connect(client, server)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		group.Wait()
	})
	query.Set("host", dir)
	u.RawQuery = query.Encode()
	return u.String()
}
