package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"zeropass.dev/zeropass/internal/entropy"
)

// moveMouse lets a person add to the pool by moving the mouse over the terminal.
// Every movement counts for what it is worth and none is needed, so any key
// skips it.
func (a *app) moveMouse(ctx context.Context, pool *entropy.Pool) error {
	tty, err := a.tty()
	if err != nil {
		return err
	}
	defer tty.Close()
	program := tea.NewProgram(&mouseModel{pool: pool, width: 60},
		tea.WithContext(ctx), tea.WithInput(tty), tea.WithOutput(tty), tea.WithoutSignalHandler())
	model, err := program.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		return fmt.Errorf("asking for mouse movements: %w", err)
	}
	if model.(*mouseModel).stopped {
		return errStopped
	}
	return nil
}

var errStopped = errors.New("stopped")

type mouseModel struct {
	pool    *entropy.Pool
	width   int  // of the bar, in characters
	stopped bool // by Ctrl-C
	ending  bool
}

func (m *mouseModel) Init() tea.Cmd { return nil }

func (m *mouseModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width = max(10, min(60, msg.Width-4))
	case tea.MouseMsg:
		mouse := msg.Mouse()
		m.pool.Add(mouse.X, mouse.Y, time.Now())
		if m.pool.Progress() >= 1 {
			return m, m.end()
		}
	case tea.KeyPressMsg:
		// In raw mode the terminal sends no signal.
		m.stopped = m.stopped || msg.String() == "ctrl+c"
		return m, m.end()
	}
	return m, nil
}

// lastMovements is how long the program takes in what a mouse that does not stop
// at once still sends, so that it is not typed into whatever comes next.
const lastMovements = 400 * time.Millisecond

func (m *mouseModel) end() tea.Cmd {
	if m.ending {
		return nil
	}
	m.ending = true
	return tea.Tick(lastMovements, func(time.Time) tea.Msg { return tea.QuitMsg{} })
}

func (m *mouseModel) View() tea.View {
	var b strings.Builder
	b.WriteString("\n  Move the mouse over this window.\n\n")
	b.WriteString("  Your movements are mixed into the randomness of your Private Master Seed,\n")
	b.WriteString("  on top of what this computer and the server put in.\n\n")
	b.WriteString("  " + drawBar(m.pool.Progress(), m.width) + "\n\n")
	if m.ending {
		b.WriteString("  Thank you.\n")
	} else {
		b.WriteString("  No mouse? Press any key to go on without; the seed is strong either way.\n")
	}
	view := tea.NewView(b.String())
	view.AltScreen = true
	if !m.ending {
		view.MouseMode = tea.MouseModeAllMotion
	}
	return view
}

// drawBar draws a progress bar; done is from 0 to 1, width in characters.
func drawBar(done float64, width int) string {
	full := int(done * float64(width))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
