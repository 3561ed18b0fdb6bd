"""Sampling strategies shared by gradient sampling and proposal sampling (paper section 3.5)."""

from samplers.balanced import IoUBalanced as IoUBalanced, ScaleBalanced as ScaleBalanced
from samplers.base import AbstractSampler as AbstractSampler
from samplers.block import Block as Block
from samplers.candidates import Candidates as Candidates
from samplers.count import count_from_ratio as count_from_ratio
from samplers.dpp import DPP as DPP, KernelDPP as KernelDPP
from samplers.farthest_point import FarthestPoint as FarthestPoint
from samplers.gradient_norm import GradientNorm as GradientNorm
from samplers.grid import Grid as Grid
from samplers.random import Random as Random
