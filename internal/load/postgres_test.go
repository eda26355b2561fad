package load

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// PostgreSQL runs on all processors, wherever the load has to stay.
func TestPostgresProcessors(t *testing.T) {
	var all, has unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	var p *Postgres
	err := onProcessors(processors(0), func() (err error) {
		p, err = StartPostgres(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.Process()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SchedGetaffinity(first, &has); err != nil || has != all {
		t.Errorf("PostgreSQL has the processors %v, not %v: %v", has, all, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", first)); !os.IsNotExist(err) {
		t.Errorf("process %d has not ended: %v", first, err)
	}
}
