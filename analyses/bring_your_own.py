"""Your own network and checkpoints to an LLC curve and a figure; put your own in place of the first part."""

from pathlib import Path

import torch
from torch import nn

import slt_grok
from slt_grok import plots

# --- yours: a network, the data it was trained on, and state dicts by training step ---------------------------
torch.manual_seed(0)
inputs = torch.linspace(-3, 3, 200)[:, None]
targets = torch.sin(2 * inputs)
network = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
checkpoints = {}
for step in range(3001):
    if step in (150, 200, 300, 500, 700, 1000, 1500, 2000, 3000):
        checkpoints[step] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer.zero_grad()
    nn.functional.mse_loss(network(inputs), targets).backward()
    optimizer.step()

# --- the LLC along training, with error bars ------------------------------------------------------------------
trajectory = slt_grok.Trajectory.stack(network, checkpoints, loss=nn.functional.mse_loss)
result = slt_grok.llc.estimate(trajectory, (inputs, targets), n_beta=1000, gamma=100, draws=1000, burn_in=500)
print(result[["llc", "llc_low", "llc_high", "llc_status"]].to_pandas())
for path in plots.save(plots.llc_curve(result), Path("runs/bring_your_own"), "llc"):
    print(path)
