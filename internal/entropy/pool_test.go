package entropy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestPoolMixesEverything(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	fill := func(change func(i int, x, y *int, at *time.Time)) []byte {
		var p Pool
		for i := range 10 {
			x, y, at := i, 2*i, start.Add(time.Duration(i)*time.Millisecond)
			if change != nil {
				change(i, &x, &y, &at)
			}
			p.Add(x, y, at)
		}
		return p.Bytes()
	}
	base := fill(nil)
	if len(base) != PoolSize || !bytes.Equal(base, fill(nil)) {
		t.Fatal("the pool is not a function of its movements")
	}
	for i := range 10 {
		for name, change := range map[string]func(int, *int, *int, *time.Time){
			"x":    func(j int, x, _ *int, _ *time.Time) { *x += b2i(i == j) },
			"y":    func(j int, _, y *int, _ *time.Time) { *y += b2i(i == j) },
			"time": func(j int, _, _ *int, at *time.Time) { *at = at.Add(time.Duration(b2i(i == j))) },
		} {
			if bytes.Equal(base, fill(change)) {
				t.Errorf("%s of movement %d does not reach the pool", name, i)
			}
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestPoolCountsMovements(t *testing.T) {
	var p Pool
	if p.Bytes() != nil || p.Progress() != 0 {
		t.Error("an empty pool holds something")
	}
	now := time.Unix(0, 0)
	p.Add(1, 1, now)
	p.Add(1, 1, now)
	if p.Events() != 1 {
		t.Errorf("%d movements, 1 was one", p.Events())
	}
	for i := range 2 * Target {
		p.Add(i, i, now)
	}
	if p.Progress() != 1 {
		t.Errorf("progress %v of a full pool", p.Progress())
	}
	if s := fmt.Sprintf("%v %+v %#v %s %x", &p, &p, &p, &p, &p); strings.ReplaceAll(s, "[secret]", "") != "    " {
		t.Errorf("the pool prints as %q", s)
	}
	p.Erase()
	if p.Bytes() != nil || p.Events() != 0 {
		t.Error("something is left after Erase")
	}
}
