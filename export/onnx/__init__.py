"""ONNX: conversion of a network, costs of a graph, an ONNX file as teacher, lower precisions."""
