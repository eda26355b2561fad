// Package postgrestest runs a PostgreSQL server for a test.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"zeropass.dev/zeropass/internal/postgresd"
)

// Options of a server.
type Options = postgresd.Options

// Server is a PostgreSQL server of a test, which ends with it.
type Server struct {
	*postgresd.Server
	databases atomic.Int64
}

// Start makes a server and starts it.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	server, err := postgresd.Start(t.Context(), o)
	if errors.Is(err, postgresd.ErrMissing) {
		t.Fatalf("%v: run make test, which installs it", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() }) // nobody reads its files again
	return &Server{Server: server}
}

// Run starts the server again after Stop or Crash.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	if err := s.Server.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Database makes an empty database and returns its name.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	s.Exec(t, "postgres", `CREATE DATABASE `+name)
	return name
}

// Exec runs a statement as superuser.
func (s *Server) Exec(t testing.TB, database, statement string, args ...any) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // cleanups want this, too
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
